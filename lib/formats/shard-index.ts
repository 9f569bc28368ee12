/** model.safetensors.index.json: which of several .safetensors files has which tensor. */
import { LMHeadError } from '../errors';
import { JsonScanner } from './json-scanner';
import { type FilePlan, readText } from './read-plan';
import { quoted } from './tensor-table';

/**
 * @param name the file's name, for messages
 * @returns the shard of each tensor: a file's bare name
 */
export function* readShardIndex(name: string, fileSize: number): FilePlan<Map<string, string>> {
  const text = yield* readText(name, fileSize);
  const shards = new Map<string, string>();
  let found = false;
  const malformed = (what: string, cause?: unknown) =>
    new LMHeadError('FORMAT', `${name}: ${what}; want a model.safetensors.index.json`, { cause });
  try {
    const scanner = new JsonScanner(text);
    scanner.object(key => {
      if (key !== 'weight_map') return scanner.skip();
      found = true;
      scanner.object(tensor => shards.set(tensor, scanner.string()));
    });
    scanner.end();
  } catch (error) {
    if (error instanceof SyntaxError) throw malformed(`it has ${error.message}`, error);
    throw error;
  }
  if (!found) throw malformed('it has no weight_map');
  for (const [tensor, shard] of shards) {
    // Nothing outside of the folder may be named, on no system.
    if (!/^[^/\\:]+$/.test(shard) || shard.includes('\0') || /^\.+$/.test(shard)) {
      throw malformed(`tensor ${quoted(tensor)} is in ${quoted(shard)}, which is no bare file name`);
    }
  }
  return shards;
}
