/** Models in several files: the headers of those that have what a head is made of. */
import { basename, join } from 'node:path';
import { LMHeadError } from '../errors';
import { type FileKind, fileKind, KIND_BYTES } from './file-kind';
import { headTensorNames, requiredNames } from './head-names';
import { isCheckpoint, readPytorchLegacy, readPytorchZip } from './pytorch';
import { type FilePlan, look, notAFile, type Plan, readBytes, within } from './read-plan';
import { readSafetensors, type SafetensorsHeader } from './safetensors';
import { besideWeight } from './tensor-names';
import { quoted, type TensorTable } from './tensor-table';
import { readZip, type ZipMember } from './zip';

export function* kindOf(path: string, size: number): Plan<FileKind> {
  return fileKind(basename(path), yield* readBytes(path, { offset: 0, length: Math.min(size, KIND_BYTES) }));
}

export const isMlx = (metadata: Map<string, string>) => metadata.get('format') === 'mlx';

export function* readDirectory(name: string, size: number): FilePlan<Map<string, ZipMember>> {
  try {
    return yield* readZip(size);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new LMHeadError(
      'FORMAT',
      `${name}: it is a ZIP archive, as PyTorch checkpoints and .npz files are, but ${error.message}; want a whole file`,
      { cause: error },
    );
  }
}

export function twice(part: string, tensor: string): LMHeadError {
  return new LMHeadError(
    'FORMAT',
    `${part}: it has tensor ${quoted(tensor)} of another part; want parts of one file`,
  );
}

/** The header of a shard: of .safetensors, or a PyTorch checkpoint. */
export function* readShard(path: string): Plan<SafetensorsHeader> {
  const found = yield* look(path);
  if (found.kind !== 'file') throw notAFile(path, found);
  const name = basename(path);
  const kind = yield* kindOf(path, found.size);
  if (kind === 'zip') {
    const members = yield* within(path, found.size, size => readDirectory(name, size));
    if (!isCheckpoint(members)) {
      throw new LMHeadError(
        'FORMAT',
        `${name}: it is a ZIP archive without a PyTorch checkpoint in it; want a shard`,
      );
    }
    const tensors = yield* within(path, found.size, size => readPytorchZip(name, size, members));
    return { tensors, metadata: new Map() };
  }
  if (kind === 'pytorch-legacy') {
    const tensors = yield* within(path, found.size, size => readPytorchLegacy(name, size));
    return { tensors, metadata: new Map() };
  }
  return yield* within(path, found.size, size => readSafetensors(name, size));
}

/** The tensors that can be part of a head. Only the shards that have them need be there. */
export function* readShards(
  folder: string,
  shards: Map<string, string>,
  wanted: string | undefined,
  own: string | undefined,
): Plan<{ tensors: TensorTable; pathOf(tensor: string): string; mlx: boolean }> {
  const names = headTensorNames(shards.keys());
  for (const name of [wanted, wanted && besideWeight(wanted, '.bias')]) {
    if (name !== undefined && shards.has(name)) names.add(name);
  }
  const required = requiredNames(names, wanted);
  const tensors: TensorTable = new Map();
  let mlx = false;
  const byShard = new Map<string, string[]>();
  for (const name of names) {
    const its = byShard.get(shards.get(name)!);
    if (its) its.push(name);
    else byShard.set(shards.get(name)!, [name]);
  }
  for (const [shard, its] of byShard) {
    const path = join(folder, shard);
    if (own !== undefined && !its.some(name => required.has(name)) && (yield* look(path)).kind !== 'file')
      continue;
    const header = yield* readShard(path);
    mlx ||= isMlx(header.metadata);
    for (const name of its) {
      const entry = header.tensors.get(name);
      if (!entry) {
        throw new LMHeadError(
          'FORMAT',
          `${shard}: it has no tensor ${quoted(name)}, which the index says it has; want files of one model`,
        );
      }
      tensors.set(name, entry);
    }
  }
  return { tensors, pathOf: name => join(folder, shards.get(name)!), mlx };
}

/**
 * Which of the files that are there has which tensor.
 * @throws LMHeadError FORMAT where two have the same
 */
export function* shardsOf(
  folder: string,
  files: readonly string[],
): Plan<{ shards: Map<string, string>; missing: string[] }> {
  const shards = new Map<string, string>();
  const missing: string[] = [];
  for (const shard of files) {
    const path = join(folder, shard);
    if ((yield* look(path)).kind !== 'file') {
      missing.push(shard);
      continue;
    }
    for (const tensor of (yield* readShard(path)).tensors.keys()) {
      if (shards.has(tensor)) throw twice(shard, tensor);
      shards.set(tensor, shard);
    }
  }
  return { shards, missing };
}
