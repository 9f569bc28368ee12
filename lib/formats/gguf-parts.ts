/** GGUF files that llama-gguf-split has cut into several: model-00001-of-00003.gguf. The first has the keys. */
import { LMHeadError } from '../errors';
import type { GgufValue } from './gguf';

/**
 * The names of all parts of the file that this one is of; its own alone where it is whole.
 * @throws LMHeadError FORMAT where it is a part, and its name doesn't say which
 */
export function ggufParts(name: string, metadata: Map<string, GgufValue>): string[] {
  const count = metadata.get('split.count');
  if (typeof count !== 'number' || count <= 1) return [name];
  const [, start, end, of] = /^(.*-)\d{5}(-of-(\d{5})\.gguf)$/i.exec(name) ?? [];
  if (Number(of) !== count) {
    throw new LMHeadError(
      'FORMAT',
      `${name}: it is one of ${count} parts; want the name that it was given, …-00001-of-${String(count).padStart(5, '0')}.gguf`,
    );
  }
  return Array.from({ length: count }, (_, i) => start + String(i + 1).padStart(5, '0') + end);
}
