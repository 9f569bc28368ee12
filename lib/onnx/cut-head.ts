/** Writes an ONNX decoder's body: the graph without its head. */
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { CUT_HEAD_OPTIONS, readOptions } from '../arguments/option-names';
import { flag } from '../arguments/values';
import { LMHeadError } from '../errors';
import { bodyPieces, HIDDEN_OUTPUT } from '../formats/onnx/cut';
import { keptWeight, type OnnxFile, openOnnx } from '../formats/onnx/onnx';
import { typeName } from '../formats/onnx/tensor-data';
import type { Piece } from '../formats/onnx/wire';
import { follow, look, notAFile, type Plan } from '../formats/read-plan';
import { kindOf } from '../formats/shards';
import { filePath } from '../head/open';
import { replaceFile } from '../head/replace-file';

/** How `cutHead` writes. */
export interface CutHeadOptions {
  /** Where the body goes; beside the model where that has external data, which both use. */
  output: string | URL;
  /** true: a file that is there is replaced. Default false. */
  overwrite?: boolean;
}

/** What `cutHead` has found and done. */
export interface CutReport {
  readonly bodyPath: string;
  /** The node that was the head, and what follows it: 'MatMul + soft-cap'. */
  readonly pattern: string;
  /** The type that `LMHead.open` has the weight in. */
  readonly dtype: string;
  /** The largest difference between a weight of the graph and what `LMHead.open` makes of it; 0: none at all. */
  readonly maxWeightError: number;
  /** What else changes by the cut, for people. */
  readonly notes: readonly string[];
  /** Does the model quantize its hidden states to 8 bits before the product? A head does not: tokens may differ then. */
  readonly quantizedActivations: boolean;
  /** The output of the model that is gone. */
  readonly logits: string;
  /** The output of the body that has taken its place, and its type: 'F32', 'F16', 'BF16'. */
  readonly hidden: { readonly name: string; readonly dtype: string };
  readonly vocabSize: number;
  readonly hiddenSize: number;
  /** Where the weight lies. */
  readonly weight: { readonly tensor: string; readonly file: string };
  /** Is the weight the input embedding too? */
  readonly tied: boolean;
  readonly logitScale: number;
  readonly softCap: number | null;
  readonly bias: boolean;
  /** Files beside the body that it needs, as the model does. */
  readonly externalData: readonly string[];
}

/**
 * Writes an ONNX decoder without its head: the same graph, whose output `last_hidden_state` is what the head took. Caches and
 * other outputs stay. External data are not copied: the body has to lie beside them. The head is `LMHead.open` of the model's file.
 * It is written through a temporary file, which takes the name when all of it is on the disk.
 * @param path of an .onnx file, or a file: URL
 * @returns rejects with TENSOR where the graph does not end in a head that can be cut (naming the operator); FORMAT, IO, SHAPE,
 *   DTYPE, ARGUMENT
 */
export async function cutHead(path: string | URL, options: CutHeadOptions): Promise<CutReport> {
  const file = filePath(path);
  const own = readOptions(options, CUT_HEAD_OPTIONS);
  const bodyPath = filePath(own.output, 'output');
  const overwrite = flag(own.overwrite, 'overwrite');
  const { opened, kept, external } = await follow(planOf(file));
  requireFree(file, bodyPath, overwrite, external);
  const { reader, size, model, head } = opened;
  const pieces = bodyPieces(reader.file, size, model, head);
  await writeBody(file, bodyPath, pieces);
  const { matrix, tail, embedding } = head;
  return {
    bodyPath,
    ...{
      pattern: head.pattern,
      ...kept,
      notes: head.notes,
      quantizedActivations: head.quantizesActivations,
      logits: head.output,
    },
    hidden: { name: HIDDEN_OUTPUT, dtype: typeName(head.cuts[0].type) },
    ...{ vocabSize: matrix.rows, hiddenSize: matrix.columns },
    weight: { tensor: matrix.tensor.name, file: matrix.tensor.external?.location ?? reader.file },
    tied: embedding.tied,
    ...{ logitScale: tail.scale, softCap: tail.softCap ?? null, bias: tail.bias !== undefined },
    externalData: external,
  };
}

interface Planned {
  opened: OnnxFile;
  kept: { dtype: string; maxWeightError: number };
  external: string[];
}

function* planOf(file: string): Plan<Planned> {
  const found = yield* look(file);
  if (found.kind !== 'file') throw notAFile(file, found, 'path', 'an .onnx file');
  const kind = yield* kindOf(file, found.size);
  if (kind !== 'onnx') {
    throw new LMHeadError('FORMAT', `path: ${file} is no ONNX model; want an .onnx file`);
  }
  const opened = yield* openOnnx(file, found.size);
  const kept = yield* keptWeight(opened.reader, opened.head.matrix);
  return { opened, kept, external: externalFiles(opened) };
}

/** Names of all files that the model's tensors are in. */
function externalFiles({ model }: OnnxFile): string[] {
  const names = new Set<string>();
  const visit = (graph: OnnxFile['model']['graph']) => {
    for (const { external } of graph.initializers.values())
      if (external?.location) names.add(external.location);
    for (const { attributes } of graph.nodes) {
      for (const { tensor, graph: inner } of attributes.values()) {
        if (tensor?.external?.location) names.add(tensor.external.location);
        if (inner) visit(inner);
      }
    }
  };
  visit(model.graph);
  return [...names];
}

function requireFree(file: string, bodyPath: string, overwrite: boolean, external: string[]): void {
  const there = statOf(bodyPath);
  if (there) {
    const model = statOf(file);
    if (model && there.ino === model.ino && there.dev === model.dev) {
      throw new LMHeadError(
        'ARGUMENT',
        `output: got ${bodyPath}, the model itself, whose head is in it; want another file`,
      );
    }
    if (!overwrite) {
      throw new LMHeadError('IO', `output: ${bodyPath} exists; want another name, or overwrite: true`);
    }
  }
  const [name] = external;
  if (name === undefined) return;
  const [from, to] = [dirname(file), dirname(bodyPath)];
  const isBeside = fs.existsSync(to) && fs.realpathSync(to) === fs.realpathSync(from);
  if (!isBeside) {
    throw new LMHeadError(
      'ARGUMENT',
      `output: got ${bodyPath}; want a file in ${from}, where ${name} is, which the body needs beside it`,
    );
  }
  const data = external.find(each => sameFile(join(from, each), bodyPath));
  if (data !== undefined) {
    throw new LMHeadError(
      'ARGUMENT',
      `output: got ${bodyPath}, which has the model's data; want another file`,
    );
  }
}

function sameFile(a: string, b: string): boolean {
  const [one, other] = [statOf(a), statOf(b)];
  return one !== undefined && one.ino === other?.ino && one.dev === other.dev;
}

function statOf(path: string): fs.Stats | undefined {
  return fs.statSync(path, { throwIfNoEntry: false });
}

/** So many bytes are copied at a time. */
const AT_ONCE = 2 ** 20;

async function writeBody(file: string, bodyPath: string, pieces: readonly Piece[]): Promise<void> {
  const source = fs.openSync(file, 'r');
  try {
    await replaceFile(bodyPath, copied(source, file, pieces), 'output');
  } finally {
    fs.closeSync(source);
  }
}

/** A piece is good until the next is asked for. */
function* copied(source: number, file: string, pieces: readonly Piece[]): Generator<Uint8Array> {
  const buffer = Buffer.alloc(AT_ONCE);
  for (const piece of pieces) {
    if (piece instanceof Uint8Array) {
      yield piece;
      continue;
    }
    for (let at = piece.begin; at < piece.end; ) {
      const count = fs.readSync(source, buffer, 0, Math.min(AT_ONCE, piece.end - at), at);
      if (count === 0) {
        throw new LMHeadError(
          'IO',
          `${file}: the file became shorter while it was read; want one that stays as it is`,
        );
      }
      yield buffer.subarray(0, count);
      at += count;
    }
  }
}
