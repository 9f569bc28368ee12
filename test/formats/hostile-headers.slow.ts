/** Headers made to cost much: each is opened in a process whose heap is small, and may hold some times its own length at most. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../support/folders';
import { PREAMBLE, runNode } from '../support/processes';
import { floats, safetensors, withHeader } from '../support/safetensors';

const MB = 1e6;
const folder = temporaryFolder();
const weight = new Float32Array(8);
const model = safetensors([floats('model.embed_tokens.weight', [4, 2], weight)]);
const config = '{"model_type":"llama","hidden_size":2,"vocab_size":4,"rms_norm_eps":1e-5}';

/** Some 12 MB of text: `item` again and again between the two. */
function filled(start: string, item: (i: number) => string, end: string): string {
  const parts = [start];
  for (let i = 0, length = 0; length < 12 * MB; i++) length += parts[parts.push(item(i)) - 1].length;
  return parts.join('') + end;
}

const name = (i: number) => i.toString(36);
const u32 = (x: number) => Buffer.from(Uint32Array.of(x).buffer);
const u64 = (x: number) => Buffer.from(BigUint64Array.of(BigInt(x)).buffer);
const text = (s: string) => Buffer.concat([u64(Buffer.byteLength(s)), Buffer.from(s)]);
const gguf = (tensors: number, keys: number, rest: Buffer[]) =>
  Buffer.concat([Buffer.from('GGUF'), u32(3), u64(tensors), u64(keys), ...rest]);
const list = (length: number, item: (i: number) => Buffer) => Array.from({ length }, (_, i) => item(i));

type Files = Record<string, string | Uint8Array>;
const oneFile = (header: string): Files => ({ 'a.safetensors': withHeader(header) });
const withConfig = (contents: string): Files => ({ 'model.safetensors': model, 'config.json': contents });
const withTokenizer = (contents: string): Files => ({
  'model.safetensors': model,
  'config.json': config,
  'tokenizer.json': contents,
});
const index = (contents: string): Files => ({ 'model.safetensors.index.json': contents });

const FORMAT = 'ERR_LMHEAD_FORMAT';
const TENSOR = 'ERR_LMHEAD_TENSOR';
const OPENED = 'opened';
/** Of several files, `opened` says which one is to be opened, if not the folder. */
const cases: [what: string, outcome: string, make: () => Files, opened?: string][] = [
  [
    '.safetensors of many tensors',
    TENSOR,
    () =>
      oneFile(
        filled(
          '{',
          i => `"x${name(i)}":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},`,
          '"y":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
        ),
      ),
  ],
  [
    '.safetensors of many modules in modules',
    TENSOR,
    () => {
      const entry = '{"dtype":"U8","shape":[0],"data_offsets":[0,0]}';
      return oneFile(filled('{', i => `"${'lm.'.repeat(95)}${name(i)}":${entry},`, `"é":${entry}}`));
    },
  ],
  [
    '.safetensors of many keys of metadata',
    FORMAT,
    () => oneFile(filled('{"__metadata__":{', i => `"${name(i)}":"",`, '"é":""}}')),
  ],
  [
    '.safetensors of many dimensions',
    FORMAT,
    () => oneFile(filled('{"a":{"dtype":"U8","shape":[', () => '0,', '0],"data_offsets":[0,0]}}')),
  ],
  [
    '.safetensors of many keys of a tensor',
    FORMAT,
    () => oneFile(filled('{"a":{', i => `"${name(i)}":0,`, '"é":0}}')),
  ],
  [
    '.safetensors of many objects that are read over',
    FORMAT,
    () => oneFile(filled('{"a":{"x":[{}', () => ',{}', ']}}')),
  ],
  ['.safetensors with a long name', FORMAT, () => oneFile(`{"${'x'.repeat(24 * MB)}":{}}`)],
  ['.safetensors with a long name of escapes', FORMAT, () => oneFile(`{"${'\\u00e9'.repeat(4 * MB)}":{}}`)],
  [
    '.safetensors of a saved head of many objects',
    FORMAT,
    () => oneFile(JSON.stringify({ __metadata__: { lmhead: filled('{"a":[{}', () => ',{}', ']}') } })),
  ],
  [
    'an index of many tensors',
    FORMAT,
    () => index(filled('{"weight_map":{', i => `"${name(i)}":"b",`, '"é":"c"}}')),
  ],
  [
    'an index of many shards that are not there',
    OPENED,
    () => {
      const missing = Array.from({ length: 100_000 }, (_, i) => `"norm.x${name(i)}":"${name(i)}"`);
      const own = '"model.embed_tokens.weight":"x-00001-of-00002.safetensors"';
      return {
        'x-00001-of-00002.safetensors': model,
        'model.safetensors.index.json': `{"weight_map":{${missing},${own}}}`,
      };
    },
    'x-00001-of-00002.safetensors',
  ],
  [
    'an index of many other keys',
    FORMAT,
    () => index(filled('{', i => `"${name(i)}":0,`, '"weight_map":{}}')),
  ],
  ['a config of many objects', FORMAT, () => withConfig(filled('{"a":[{}', () => ',{}', ']}'))],
  ['a config of many keys', FORMAT, () => withConfig(filled('{', i => `"${name(i)}":0,`, '"é":0}'))],
  ['a config of many numbers', FORMAT, () => withConfig(filled('{"a":[0', () => ',1', ']}'))],
  ['a config of many lists in lists', FORMAT, () => withConfig('['.repeat(24 * MB))],
  ['a config with a long string', OPENED, () => withConfig(`{"a":"${'é'.repeat(12 * MB)}"}`)],
  ['a config with a long number', FORMAT, () => withConfig(`{"a":${'1'.repeat(24 * MB)}}`)],
  ['a config of more than 25 MB', FORMAT, () => withConfig(`{}${' '.repeat(25 * MB)}`)],
  ['a tokenizer of many objects', OPENED, () => withTokenizer(filled('{"x":[{}', () => ',{}', ']}'))],
  [
    'a tokenizer of many keys',
    OPENED,
    () => withTokenizer(filled('{"x":{', i => `"${name(i)}":0,`, '"é":0}}')),
  ],
  [
    'a tokenizer of many keys that could matter',
    FORMAT,
    () => withTokenizer(filled('{', i => `"${name(i)}":0,`, '"é":0}')),
  ],
  [
    'a tokenizer with a token of many keys',
    FORMAT,
    () => withTokenizer(filled('{"added_tokens":[{', i => `"${name(i)}":0,`, '"id":0}]}')),
  ],
  [
    'a tokenizer of many added tokens',
    OPENED,
    () => withTokenizer(filled('{"added_tokens":[{}', () => ',{}', ']}')),
  ],
  [
    'a tokenizer of many lists',
    OPENED,
    () => withTokenizer(filled('{"model":{"vocab":[[]', () => ',[]', ']}}')),
  ],
  [
    'a tokenizer of escapes',
    OPENED,
    () => withTokenizer(`{"model":{"vocab":{"${'\\u20ac'.repeat(4 * MB)}":1}}}`),
  ],
  ['a tokenizer of a deep object', FORMAT, () => withTokenizer('{"a":'.repeat(5 * MB))],
  [
    '.gguf of as many keys as there may be',
    TENSOR,
    () => {
      const keys = list(100_000, i => Buffer.concat([text(name(i)), u32(0), Buffer.of(0)]));
      return { 'a.gguf': gguf(0, keys.length, keys) };
    },
  ],
  ['.gguf of more keys', FORMAT, () => ({ 'a.gguf': gguf(0, 1_700_000, [Buffer.alloc(24 * MB)]) })],
  [
    '.gguf of as many tensors as there may be',
    TENSOR,
    () => {
      const tensors = list(100_000, i =>
        Buffer.concat([text(`x${name(i)}`), u32(1), u64(0), u32(0), u64(0)]),
      );
      return { 'a.gguf': gguf(tensors.length, 0, tensors) };
    },
  ],
  ['.gguf of more tensors', FORMAT, () => ({ 'a.gguf': gguf(900_000, 0, [Buffer.alloc(24 * MB)]) })],
  [
    '.gguf with a long string',
    TENSOR,
    () => ({
      'a.gguf': gguf(0, 1, [text('a'), u32(8), text('é'.repeat(12 * MB))]),
    }),
  ],
  [
    '.gguf of many strings',
    TENSOR,
    () => ({
      'a.gguf': gguf(0, 1, [text('a'), u32(9), u32(8), u64(3 * MB), Buffer.alloc(8 * 3 * MB)]),
    }),
  ],
  [
    '.gguf of lists in lists',
    FORMAT,
    () => ({
      'a.gguf': gguf(0, 1, [text('a'), Buffer.alloc(16 * MB, Buffer.concat([u32(9), u32(9), u64(1)]))]),
    }),
  ],
  [
    '.gguf of a list of more than 25 MB',
    FORMAT,
    () => ({
      'a.gguf': gguf(0, 1, [text('a'), u32(9), u32(4), u64(8 * MB), Buffer.alloc(4 * 8 * MB)]),
    }),
  ],
  [
    '.npy with a long header',
    FORMAT,
    () => ({
      'a.npy': Buffer.concat([
        Buffer.from('\x93NUMPY\x02\0', 'latin1'),
        u32(24 * MB),
        Buffer.alloc(24 * MB, ' '),
      ]),
    }),
  ],
];

const open = `${PREAMBLE}
  const fs = require('node:fs');
  const linux = process.platform === 'linux';
  const peak = () => linux ? 1024 * Number(/VmHWM:\\s*(\\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]) : 0;
  // The peak is what is held now: without this, the one of the process that has started this one counts.
  if (linux) fs.writeFileSync('/proc/self/clear_refs', '5');
  const before = peak();
  let outcome = 'opened';
  let message = '';
  try {
    LMHead.openSync(process.env.TARGET).close();
  } catch (error) {
    outcome = error instanceof LMHeadError ? error.code : 'a plain ' + error.name;
    message = error.message;
  }
  console.log(JSON.stringify({ outcome, message: message.length, held: peak() - before }));`;

describe('a header made to cost much', () => {
  it.each(cases)('%s', (what, outcome, make, opened) => {
    const files = Object.entries(make());
    let size = 0;
    const paths = files.map(([file, bytes]) => {
      size += Buffer.byteLength(bytes as string);
      return folder.file(join(what, file), bytes);
    });
    const target = paths.length === 1 ? paths[0] : folder.path(join(what, opened ?? ''));
    const env = { TARGET: target, NODE_NO_WARNINGS: '1' };
    // Garbage of young objects is not what a header costs.
    const flags = ['--max-old-space-size=160', '--max-semi-space-size=2'];
    const { stdout, stderr, signal } = runNode(open, { env, flags });
    for (const path of paths) writeFileSync(path, '');
    expect([signal, stderr]).toEqual([null, '']);
    const found = JSON.parse(stdout) as { outcome: string; message: number; held: number };
    expect(found.outcome).toBe(outcome);
    expect(found.message).toBeLessThan(2000);
    expect(found.held).toBeLessThan(12 * size + 60 * MB);
  });
});
