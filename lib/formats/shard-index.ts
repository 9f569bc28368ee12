/** model.safetensors.index.json: which of several .safetensors files has which tensor. */
import { LMHeadError } from '../errors';
import { JsonScanner } from './json-scanner';
import { type FilePlan, readText } from './read-plan';
import { LONGEST_NAME, quoted } from './tensor-table';

/** The largest mixtures of experts have 300,000. */
const MOST_TENSORS = 500_000;

/** What a file of JSON is that has such a key. */
const WHAT = new Map([
  ['model_type', 'describes a model'],
  ['architectures', 'describes a model'],
  ['n_layers', 'describes a model'],
  ['added_tokens', 'is a tokenizer'],
  ['pre_tokenizer', 'is a tokenizer'],
  ['added_tokens_decoder', 'is a part of a tokenizer'],
]);

/**
 * @param name the file's name, for messages
 * @returns the shard of each tensor: a file's bare name
 */
export function* readShardIndex(name: string, fileSize: number): FilePlan<Map<string, string>> {
  const text = yield* readText(name, fileSize);
  const shards = new Map<string, string>();
  let found = false;
  let what: string | undefined;
  // Of model.json the key, of weights_manifest.json how it begins.
  let tensorFlow = /^\s*\[\s*\{\s*"(?:paths|weights)"/.test(
    Buffer.from(text.subarray(0, 200)).toString('latin1'),
  );
  const malformed = (what: string, cause?: unknown) =>
    new LMHeadError('FORMAT', `${name}: ${what}; want a model.safetensors.index.json`, { cause });
  try {
    if (tensorFlow) throw tensorFlowJs(name);
    const scanner = new JsonScanner(text);
    scanner.object(key => {
      if (key === 'weightsManifest') tensorFlow = true;
      what ??= WHAT.get(key);
      if (key !== 'weight_map') return scanner.skip();
      found = true;
      scanner.members(tensor => {
        if (shards.has(tensor)) throw scanner.twice(tensor);
        if (shards.size === MOST_TENSORS) throw scanner.tooMany('tensors', MOST_TENSORS);
        shards.set(tensor, scanner.string(LONGEST_NAME));
      }, LONGEST_NAME);
    });
    scanner.end();
  } catch (error) {
    if (error instanceof SyntaxError) throw malformed(`it has ${error.message}`, error);
    throw error;
  }
  if (tensorFlow && !found) throw tensorFlowJs(name);
  if (!found) {
    throw new LMHeadError(
      'FORMAT',
      `${name}: it ${what ? `${what} and ` : ''}has no weight_map; want a model.safetensors.index.json, or the folder that this describes`,
    );
  }
  for (const [tensor, shard] of shards) {
    // Nothing outside of the folder may be named, on no system.
    if (!/^[^/\\:]+$/.test(shard) || shard.includes('\0') || /^\.+$/.test(shard)) {
      throw malformed(`tensor ${quoted(tensor)} is in ${quoted(shard)}, which is no bare file name`);
    }
  }
  return shards;
}

function tensorFlowJs(name: string): LMHeadError {
  return new LMHeadError(
    'FORMAT',
    `${name}: it describes a model of TensorFlow.js, whose shards are not read; want the output matrix on its own, as .npy or .safetensors`,
  );
}
