/** A model in a folder, with files of hidden states: what the commands of the CLI take. */
import { Readable, Writable } from 'node:stream';
import { beforeAll } from 'vitest';
import { LMHead } from '../../lib';
import { main } from '../../lib/cli/main';
import { bytesOf } from './bytes';
import { type Folder, temporaryFolder } from './folders';
import { npy } from './npy';
import { someNumbers } from './numbers';
import { floats, safetensors } from './safetensors';
import { tokenizerJson } from './tokenizers';

export const V = 97;
export const D = 32;
export const LAYERS = 4;
export const N = 3;

export const weight = someNumbers(V * D, 1);
export const norm = { type: 'rmsnorm', weight: someNumbers(D, 5).map(x => 1 + x / 4), eps: 1e-5 } as const;
export const head = LMHead.from(weight, { vocabSize: V, hiddenSize: D, norm });
/** [layers, n, d] */
export const states = someNumbers(LAYERS * N * D, 2).map(x => 3 * x);
export const texts = Array.from({ length: V }, (_, id) => ` word${id}`);

export const lastStates = states.slice((LAYERS - 1) * N * D);
export const row = <T>(array: ArrayLike<T>, i: number, k: number) =>
  Array.from(array).slice(i * k, (i + 1) * k);

/** Writes a model whose eps is 1e-5. @returns its folder */
export function llamaFolder(
  folder: Folder,
  vocabSize: number,
  hiddenSize: number,
  lmHead: Float32Array,
  normWeight: Float32Array,
  tokens: string[],
): string {
  folder.file(
    'model/model.safetensors',
    safetensors([
      floats('lm_head.weight', [vocabSize, hiddenSize], lmHead),
      floats('model.norm.weight', [hiddenSize], normWeight),
    ]),
  );
  folder.file(
    'model/config.json',
    JSON.stringify({
      model_type: 'llama',
      vocab_size: vocabSize,
      hidden_size: hiddenSize,
      rms_norm_eps: 1e-5,
    }),
  );
  folder.file('model/tokenizer.json', tokenizerJson(tokens));
  return folder.path('model');
}

/** What {@link cliModel} writes. */
export interface CliModel {
  folder: Folder;
  /** The model's folder. */
  file: string;
  /** Its last hidden states, [n,d], and those of every layer, [layers,n,d]: `.npy` files. */
  h: string;
  layers: string;
}

/** The files are there while the tests of a file run. */
export function cliModel(): CliModel {
  const folder = temporaryFolder();
  const model: CliModel = { folder, file: '', h: '', layers: '' };
  beforeAll(() => {
    model.file = llamaFolder(folder, V, D, weight, norm.weight, texts);
    model.h = folder.file('h.npy', npy('<f4', [N, D], bytesOf(lastStates)));
    model.layers = folder.file('layers.npy', npy('<f4', [LAYERS, N, D], bytesOf(states)));
  });
  return model;
}

/** With these bytes on the standard input. */
export async function piped(bytes: Buffer, args: string[], chunk = 7) {
  const text = { stdout: '', stderr: '' };
  const stream = (name: 'stdout' | 'stderr') =>
    new Writable({
      write(part, _encoding, done) {
        text[name] += part;
        done();
      },
    });
  const parts = Array.from({ length: Math.ceil(bytes.length / chunk) }, (_, i) =>
    bytes.subarray(i * chunk, (i + 1) * chunk),
  );
  const streams = { stdout: stream('stdout'), stderr: stream('stderr'), stdin: Readable.from(parts) };
  return { code: await main(args, streams), ...text };
}
