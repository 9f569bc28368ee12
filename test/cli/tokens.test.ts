/** The texts of tokens: where they are found, and how they are shown. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { textOfBytes, textOfPiece } from '../../lib/tokens/pieces';
import { columns, quotedToken, visible } from '../../lib/tokens/visible';
import { bytesOf } from '../support/bytes';
import { jsonLines, lmhead } from '../support/command';
import { temporaryFolder } from '../support/folders';
import { F32, type GgufValueSpec, gguf } from '../support/gguf';
import { npy } from '../support/npy';
import { packageFolder } from '../support/processes';
import { floats, safetensors } from '../support/safetensors';
import { HOSTILE, tokenizerJson } from '../support/tokenizers';
import { warningsOf } from '../support/warnings';

const V = HOSTILE.length;
const D = V;
/** Row i is the i-th unit vector, so that the hidden state e_i has token i first. */
const weight = Float32Array.from({ length: V * D }, (_, i) => (i % (D + 1) === 0 ? 8 : 0));
const folder = temporaryFolder();
let h: string;
let t: string;

beforeAll(() => {
  mkdirSync(folder.path('model'));
  const head = safetensors([floats('lm_head.weight', [V, D], weight)]);
  folder.file('model/model.safetensors', head);
  folder.file('model/tokenizer.json', tokenizerJson(HOSTILE));
  folder.file('bare/model.safetensors', head);
  const unit = Float32Array.from({ length: V * D }, (_, i) => (i % (D + 1) === 0 ? 1 : 0));
  h = folder.file('h.npy', npy('<f4', [V, D], bytesOf(unit)));
  t = folder.file('t.npy', npy('<i4', [V], bytesOf(Int32Array.from({ length: V }, (_, i) => i))));
});

/** What must not reach a terminal as it is: it moves the cursor, turns lines around, or cannot be seen. */
const ACTIVE = /(?!\n)\p{Cc}|[\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]|\p{Cs}/u;

function ggufOf(model: string, tokens: (string | Uint8Array)[], types?: number[]): Buffer {
  const metadata: Record<string, GgufValueSpec> = {
    'general.architecture': { string: 'llama' },
    'tokenizer.ggml.model': { string: model },
    'tokenizer.ggml.tokens': { strings: tokens as string[] },
    ...(types ? { 'tokenizer.ggml.token_type': { i32s: types } } : {}),
  };
  const size = tokens.length;
  const unit = Float32Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? 8 : 0));
  return gguf([{ name: 'output.weight', type: F32, shape: [size, size], bytes: bytesOf(unit) }], metadata);
}

async function bestTexts(file: string, size: number, ...more: string[]): Promise<unknown[]> {
  const unit = Float32Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? 1 : 0));
  const states = folder.file('unit.npy', npy('<f4', [size, size], bytesOf(unit)));
  const lines = await jsonLines(['topk', file, '--hidden', states, '-k', '1', ...more]);
  return lines.map(line => (line.texts as string[])[0]);
}

describe('tokenizer.json', () => {
  it('is found beside the weights', async () => {
    expect(await bestTexts(folder.path('model'), V)).toEqual(HOSTILE);
    expect(await bestTexts(folder.path('model/model.safetensors'), V)).toEqual(HOSTILE);
  });

  it('is named, by its own path or its folder', async () => {
    for (const path of ['model/tokenizer.json', 'model'])
      expect(await bestTexts(folder.path('bare'), V, '--tokenizer', folder.path(path))).toEqual(HOSTILE);
  });

  it('is left alone with none, and where there is none', async () => {
    const [line] = await jsonLines(['topk', folder.path('bare'), '--hidden', h, '-k', '1']);
    expect(line).not.toHaveProperty('texts');
    const none = ['topk', folder.path('model'), '--hidden', h, '-k', '1', '--tokenizer', 'none'];
    expect((await jsonLines(none))[0]).not.toHaveProperty('texts');
  });

  it('writes hostile tokens so that nothing acts on a terminal', async () => {
    for (const args of [
      ['topk', folder.path('model'), '--hidden', h, '-k', '3'],
      ['topk', folder.path('model'), '--hidden', h, '-k', '3', '--json'],
      ['score', folder.path('model'), '--hidden', h, '--targets', t, '--each'],
      ['score', folder.path('model'), '--hidden', h, '--targets', t, '--each', '--json'],
    ]) {
      const { code, stdout, stderr } = await lmhead(args);
      expect([code, stderr]).toEqual([0, '']);
      expect(stdout).not.toMatch(ACTIVE);
      const lines = stdout.trimEnd().split('\n');
      if (!args.includes('--json')) {
        for (const line of lines) expect(columns(line)).toBeLessThan(120);
      }
      const tables = { topk: 2 + 3 * V, score: 2 + V + 1 + 4 };
      const json = { topk: V, score: V + 1 };
      expect(lines.length).toBe((args.includes('--json') ? json : tables)[args[0] as 'topk']);
    }
    const { stdout } = await lmhead(['score', folder.path('model'), '--hidden', h, '--targets', t, '--each']);
    for (const shown of ['"\\x1b[31mred"', '"\\u202eevil"', '"a\\nb"', '"\\xe2\\x80"', '" the"', '"\\""'])
      expect(stdout).toContain(shown);
    expect(stdout).toMatch(/"x{37}…"\n/);
  });

  it('is a warning where it cannot be read, and an error where it was named', async () => {
    folder.file('broken/model.safetensors', readFileSync(folder.path('bare/model.safetensors')));
    const broken = folder.file('broken/tokenizer.json', '{"model":');
    const { warnings } = await warningsOf(async () => {
      expect((await lmhead(['topk', folder.path('broken'), '--hidden', h])).code).toBe(0);
    });
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/^LMHEAD_TOKENIZER: texts of tokens are left out: tokenizer: /);
    const named = await lmhead(['topk', folder.path('bare'), '--hidden', h, '--tokenizer', broken]);
    expect(named.code).toBe(1);
    expect(named.stderr).toMatch(
      /^lmhead: ERR_LMHEAD_FORMAT: tokenizer: tokenizer.json: it is no JSON; want /,
    );
    writeFileSync(broken, '{"model":{"vocab":{"a":0},"type":"Nonsense"}}');
    const nonsense = await lmhead(['topk', folder.path('bare'), '--hidden', h, '--tokenizer', broken]);
    expect(nonsense.stderr).toMatch(/^lmhead: ERR_LMHEAD_FORMAT: tokenizer: /);
    const absent = await lmhead(['topk', folder.path('bare'), '--hidden', h, '--tokenizer', 'absent']);
    expect(absent.stderr).toMatch(/^lmhead: ERR_LMHEAD_IO: tokenizer: .*absent cannot be read/);
    const without = await lmhead([
      'topk',
      folder.path('bare'),
      '--hidden',
      h,
      '--tokenizer',
      folder.path('bare'),
    ]);
    expect(without.stderr).toMatch(/^lmhead: ERR_LMHEAD_IO: tokenizer: the folder .* has no tokenizer\.json/);
  });

  it('is told of where the package that reads it is not installed', () => {
    // To Node it looks as if there were none.
    folder.file(
      'missing.mjs',
      `export function resolve(specifier, context, next) {
        if (specifier !== '@huggingface/tokenizers') return next(specifier, context);
        throw Object.assign(new Error('no such package'), { code: 'ERR_MODULE_NOT_FOUND' });
      }`,
    );
    const hook = folder.file(
      'hook.mjs',
      `import { register } from 'node:module'; register('./missing.mjs', import.meta.url);`,
    );
    const program = join(packageFolder, 'dist/cli/index.js');
    const args = [program, 'topk', folder.path('model'), '--hidden', h];
    const run = (...more: string[]) =>
      spawnSync(process.execPath, ['--import', pathToFileURL(hook).href, ...args, ...more], {
        encoding: 'utf8',
      });
    const found = run('-k', '1');
    expect(found.status).toBe(0);
    expect(found.stderr).toMatch(
      /^lmhead: warning: texts of tokens are left out: .* npm install @huggingface\/tokenizers\n$/,
    );
    const named = run('--tokenizer', folder.path('model'));
    expect(named.status).toBe(1);
    expect(named.stderr).toMatch(
      /^lmhead: ERR_LMHEAD_LOAD: tokenizer: tokenizer\.json is read by the package @huggingface\/tokenizers, which is not installed; want npm install @huggingface\/tokenizers\n$/,
    );
  });

  it.each([
    ['Metaspace', { type: 'Metaspace', replacement: '▁' }, ['▁the', '<0x0A>', 'a'], [' the', '\n', 'a']],
    [
      'Sequence',
      {
        type: 'Sequence',
        decoders: [{ type: 'Replace', pattern: { String: '▁' }, content: ' ' }, { type: 'ByteFallback' }],
      },
      ['▁▁x', '<0xE2>', '<x>'],
      ['  x', '\udce2', '<x>'],
    ],
    [
      'WordPiece',
      { type: 'WordPiece', prefix: '##', cleanup: true },
      ['the', '##s', '[SEP]'],
      [' the', 's', '[SEP]'],
    ],
    ['BPEDecoder', { type: 'BPEDecoder', suffix: '</w>' }, ['the</w>', 'th', '</w>'], ['the ', 'th', ' ']],
    ['none', null, ['the', '▁a', 'Ġ'], ['the', '▁a', 'Ġ']],
  ])('with the decoder %s', async (_, decoder, pieces, texts) => {
    const path = folder.file('other.json', tokenizerJson([], { pieces, decoder }));
    const file = folder.file('other.gguf', ggufOf('none', pieces));
    expect(await bestTexts(file, 3, '--tokenizer', path)).toEqual(texts);
  });
});

describe('the vocabulary of a GGUF file', () => {
  it.each([
    ['llama', ['▁the', '<0xE2>', '<s>', '▁'], [1, 6, 3, 4], [' the', '\udce2', '<s>', '▁']],
    ['gpt2', ['Ġthe', 'Ċ', 'Ġ', 'âĢ'], [1, 1, 4, 1], [' the', '\n', 'Ġ', '\udce2\udc80']],
    ['bert', ['▁the', 's', '[SEP]', 'x'], [1, 1, 3, 1], [' the', 's', '[SEP]', 'x']],
    ['rwkv', ['\\xe2\\x80', '\\n\\t', "it\\'s", 'é'], [1, 1, 1, 1], ['\udce2\udc80', '\n\t', "it's", 'é']],
    ['a kind that is not known', ['▁the', 'Ġ', '', 'x'], [1, 1, 1, 1], ['▁the', 'Ġ', '', 'x']],
  ])('of %s', async (model, tokens, types, texts) => {
    const file = folder.file('vocabulary.gguf', ggufOf(model, tokens, types));
    expect(await bestTexts(file, 4)).toEqual(texts);
    expect(await bestTexts(file, 4, '--tokenizer', file)).toEqual(texts);
  });

  it('without types, and none', async () => {
    const file = folder.file('untyped.gguf', ggufOf('llama', ['▁a', '<0x41>', 'c']));
    expect(await bestTexts(file, 3)).toEqual([' a', 'A', 'c']);
    const one = Float32Array.of(1);
    const bare = folder.file(
      'bare.gguf',
      gguf([{ name: 'output.weight', type: F32, shape: [1, 1], bytes: bytesOf(one) }]),
    );
    const states = folder.file('one.npy', npy('<f4', [1, 1], bytesOf(one)));
    const [line] = await jsonLines(['topk', bare, '--hidden', states]);
    expect(line).not.toHaveProperty('texts');
    const named = await lmhead(['topk', bare, '--hidden', states, '--tokenizer', bare]);
    expect(named.stderr).toContain('ERR_LMHEAD_TENSOR: tokenizer: ');
  });

  it('with as many types as it has not', async () => {
    const file = folder.file('types.gguf', ggufOf('llama', ['a', 'b'], [1]));
    const states = folder.file('two.npy', npy('<f4', [1, 2], bytesOf(Float32Array.of(1, 0))));
    const { warnings } = await warningsOf(async () => {
      expect((await lmhead(['topk', file, '--hidden', states, '-k', '1'])).code).toBe(0);
    });
    expect(warnings[0]).toContain('it has 2 tokens and 1 types of them');
  });
});

describe('text that can be seen', () => {
  it('keeps every byte', () => {
    for (let byte = 0; byte < 256; byte++) {
      const text = textOfBytes(Uint8Array.of(byte));
      expect(text).toBe(byte < 0x80 ? String.fromCharCode(byte) : String.fromCharCode(0xdc00 + byte));
    }
    expect(textOfBytes(Uint8Array.of(0xe2, 0x82, 0xac, 0xe2, 0x82, 0x41, 0xff))).toBe('€\udce2\udc82A\udcff');
    expect(textOfBytes(Uint8Array.of(0xed, 0xa0, 0x80, 0xf0))).toBe('\udced\udca0\udc80\udcf0');
    expect(textOfPiece('not of GPT-2’s letters', 'bytes')).toBe('not of GPT-2’s letters');
  });

  it.each([
    ['a\x1b[2Jb', 'a\\x1b[2Jb'],
    ['\x9b31m', '\\u009b31m'],
    ['\udc9b\ud800', '\\x9b\\ud800'],
    ['\r\n\t\0', '\\r\\n\\t\\x00'],
    ['\u202eabc\u2066', '\\u202eabc\\u2066'],
    ['C:\\n', 'C:\\\\n'],
    ['\u00a0\u3000\ufeff\u200b', '\\u00a0\\u3000\\ufeff\\u200b'],
    ['\u{e0041}', '\\u{e0041}'],
    ['\u0301x', '◌\u0301x'],
    ['日本 é 🙂', '日本 é 🙂'],
  ])('%j is %s', (text, shown) => expect(visible(text, 80)).toBe(shown));

  it('is cut to its columns, wide letters and marks counted', () => {
    expect(visible('x'.repeat(10_000), 10)).toBe('xxxxxxxxx…');
    expect(visible('日'.repeat(50), 10)).toBe('日日日日…');
    expect(visible('xxxxxxxxxx', 10)).toBe('xxxxxxxxxx');
    expect(visible('xxxxxxx\n\n', 10)).toBe('xxxxxxx\\n…');
    const piled = visible(`a${'\u0301'.repeat(1000)}`, 20);
    expect(columns(piled)).toBeLessThanOrEqual(20);
    expect(piled.length).toBeLessThan(40);
    expect(quotedToken('a"b')).toBe('"a\\"b"');
    for (const text of HOSTILE) expect(columns(quotedToken(text))).toBeLessThanOrEqual(42);
  });
});
