/** What the commands print, against what the library returns. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { capabilities, LMHead } from '../../lib';
import { nativeUnavailable } from '../../lib/backend/addon';
import { bytesOf } from '../support/bytes';
import { jsonLines, lmhead } from '../support/command';
import { temporaryFolder } from '../support/folders';
import { npy } from '../support/npy';
import { someNumbers } from '../support/numbers';
import { floats, safetensors } from '../support/safetensors';

const V = 211;
const D = 13;
const N = 3;
const folder = temporaryFolder();
const weight = someNumbers(V * D, 1);
const hidden = someNumbers(N * D, 2);
const TARGETS = [7, 200, 0];
const head = LMHead.from(weight, { vocabSize: V, hiddenSize: D });
let file: string;
let h: string;
let t: string;

beforeAll(() => {
  file = folder.file('head.safetensors', safetensors([floats('model.embed_tokens.weight', [V, D], weight)]));
  h = folder.file('h.npy', npy('<f4', [N, D], bytesOf(hidden)));
  t = folder.file('t.npy', npy('<i8', [N], bytesOf(BigInt64Array.from(TARGETS, BigInt))));
});

describe('info', () => {
  it('says what the file holds and how it would run', async () => {
    const [facts] = await jsonLines(['info', file, '--threads', '2']);
    expect(facts).toEqual({
      file,
      family: null,
      tensors: { output: 'model.embed_tokens.weight', input: null },
      vocabSize: V,
      validVocabSize: V,
      hiddenSize: D,
      dtype: 'f32',
      bytes: V * D * 4,
      screen: null,
      mapped: true,
      tied: true,
      inputRows: V,
      parameters: V * D,
      bias: false,
      norm: null,
      logitScale: 1,
      softCap: null,
      embeddingScale: 1,
      backend: 'native',
      isa: capabilities().isa,
      threads: 2,
      origins: {
        ...{ tied: 'head.safetensors', norm: 'default', bias: 'default', logitScale: 'default' },
        ...{ softCap: 'default', embeddingScale: 'default', validVocabSize: 'head.safetensors' },
      },
    });
  });

  it('says it to people too', async () => {
    const { code, stdout, stderr } = await lmhead(['info', file, '--threads', '1']);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toBe(
      [
        'vocabulary   211 tokens',
        'hidden size  13',
        'weights      f32, 11.0 kB, mapped and used in place',
        'tied         yes: one matrix is input and output embedding (head.safetensors)',
        'parameters   2,743',
        'norm         none found',
        `runs here    native, ${capabilities().isa}, 1 thread`,
        '',
      ].join('\n'),
    );
  });

  it('says where a thing is from', async () => {
    folder.file('model/model.safetensors', readFileSync(file));
    const config = { model_type: 'gemma2', vocab_size: V - 1, hidden_size: D, final_logit_softcapping: 5 };
    folder.file('model/config.json', JSON.stringify(config));
    const [facts] = await jsonLines(['info', folder.path('model')]);
    expect(facts).toMatchObject({
      family: 'gemma2',
      origins: {
        ...{ tied: 'the family gemma2', softCap: 'config.json', embeddingScale: 'config.json' },
        ...{ norm: 'default', validVocabSize: 'config.json' },
      },
    });
    const { stdout } = await lmhead(['info', folder.path('model')]);
    for (const line of [
      'family           gemma2',
      'vocabulary       211 tokens, the last 1 of them padding (config.json)',
      'tied             yes: one matrix is input and output embedding (the family gemma2)',
      'soft cap         5 (config.json)',
    ])
      expect(stdout).toContain(`${line}\n`);
  });

  it('of the reference', async () => {
    const [facts] = await jsonLines(['info', file, '--backend', 'reference']);
    expect(facts).toMatchObject({ backend: 'reference', isa: null, mapped: false });
  });
});

describe('topk', () => {
  it('prints what topK returns', async () => {
    const best = head.topKSync(hidden, 4, { temperature: 0.5 });
    const lines = await jsonLines(['topk', file, '--hidden', h, '-k', '4', '--temperature', '0.5']);
    expect(lines).toHaveLength(N);
    lines.forEach((line, i) => {
      const part = (array: ArrayLike<number>) => Array.from(array).slice(i * 4, i * 4 + 4);
      expect(line).toEqual({
        position: i,
        ids: part(best.ids),
        logits: part(best.logits),
        logProbs: part(best.logProbs),
        logSumExp: best.logSumExp[i],
      });
    });
  });

  it.each([
    ['float16', '<f2'],
    ['float64', '<f8'],
    ['big-endian float32', '>f4'],
  ])('takes hidden states of %s', async (_, descr) => {
    // Numbers that all of these hold.
    const exact = Float64Array.from({ length: D }, (_, i) => (i - 5) / 4);
    const bytes = {
      '<f2': bytesOf(Uint16Array.from(exact, x => half(x))),
      '<f8': bytesOf(exact),
      '>f4': Buffer.from(Float32Array.from(exact).buffer.slice(0)).swap32(),
    }[descr]!;
    const path = folder.file('exact.npy', npy(descr, [D], bytes));
    const [line] = await jsonLines(['topk', file, '--hidden', path, '-k', '3']);
    expect(line.ids).toEqual(Array.from(head.topKSync(Float32Array.from(exact), 3).ids));
  });

  it('goes through a long file in blocks, and shows where it is on a terminal', async () => {
    const n = 1300;
    const many = someNumbers(n * D, 5);
    const path = folder.file('many.npy', npy('<f4', [n, D], bytesOf(many)));
    const lines = await jsonLines(['topk', file, '--hidden', path, '-k', '1']);
    expect(lines.map(line => (line.ids as number[])[0])).toEqual(Array.from(head.argmaxSync(many)));
    expect(lines.map(line => line.position)).toEqual(Array.from({ length: n }, (_, i) => i));

    const shown = await lmhead(['topk', file, '--hidden', path, '-k', '1'], true);
    expect(shown.stderr).toContain('░ 0 of 1,300');
    expect(shown.stderr.startsWith('\r\x1b[K░')).toBe(true);
    expect(shown.stderr.endsWith('\r\x1b[K')).toBe(true);
    const quiet = await lmhead(['topk', file, '--hidden', path, '-k', '1']);
    expect(quiet.stderr).toBe('');
    expect(shown.stdout).toBe(quiet.stdout);
  });

  it('prints a table', async () => {
    const { ids, logits } = head.topKSync(hidden, 2);
    const { stdout } = await lmhead(['topk', file, '--hidden', h, '-k', '2']);
    const lines = stdout.split('\n');
    expect(lines[0]).toMatch(/^position +rank +id +logit +log p +p$/);
    expect(lines).toHaveLength(2 + 2 * N + 1);
    expect(lines[2].trim().split(/ +/).slice(0, 4)).toEqual(['0', '1', String(ids[0]), logits[0].toFixed(3)]);
    expect(lines[3].trim().split(/ +/).slice(0, 3)).toEqual(['2', String(ids[1]), logits[1].toFixed(3)]);
  });
});

describe('score', () => {
  it('prints what score returns', async () => {
    const one = head.scoreSync(hidden, TARGETS, { entropy: true });
    const lines = await jsonLines(['score', file, '--hidden', h, '--targets', t, '--each', '--entropy']);
    expect(lines.slice(0, N)).toEqual(
      TARGETS.map((target, i) => ({
        position: i,
        target,
        logProb: one.logProbs[i],
        rank: one.ranks[i],
        entropy: one.entropy![i],
      })),
    );
    const summary = lines[N] as Record<string, number>;
    expect(summary).toMatchObject({ positions: N, count: N });
    expect(summary.nll).toBeCloseTo(one.nll, 6);
    expect(summary.perplexity).toBeCloseTo(one.perplexity, 3);
    expect(summary.first).toBe(one.ranks.filter(rank => rank === 1).length / N);
  });

  it('leaves out what is to be ignored', async () => {
    const path = folder.file('ignore.npy', npy('<i4', [1, N], bytesOf(Int32Array.from([7, -100, 0]))));
    const args = ['score', file, '--hidden', h, '--targets', path, '--ignore-index', '-100'];
    const [summary] = await jsonLines(args);
    const expected = head.scoreSync(hidden, [7, -100, 0], { ignoreIndex: -100 });
    expect(summary).toMatchObject({ positions: N, count: 2 });
    expect(summary.nll).toBeCloseTo(expected.nll, 6);
    expect((await lmhead(args)).stdout).toMatch(/^positions +3, of which 2 count$/m);
  });

  it('of nothing is no number, in JSON too', async () => {
    const none = folder.file('none.npy', npy('<f4', [0, D], new Uint8Array(0)));
    const targets = folder.file('none-t.npy', npy('<i8', [0], new Uint8Array(0)));
    const [summary] = await jsonLines(['score', file, '--hidden', none, '--targets', targets]);
    expect(summary).toMatchObject({ positions: 0, count: 0, nll: 'NaN', perplexity: 'NaN' });
  });

  it.each([
    ['|u1', Uint8Array],
    ['<u2', Uint16Array],
    ['<i2', Int16Array],
    ['<u4', Uint32Array],
    ['<u8', BigUint64Array],
  ] as const)('takes targets of %s', async (descr, type) => {
    const array =
      type === BigUint64Array
        ? BigUint64Array.from(TARGETS, BigInt)
        : (type as typeof Uint32Array).from(TARGETS);
    const path = folder.file('typed.npy', npy(descr, [N], bytesOf(array)));
    const [summary] = await jsonLines(['score', file, '--hidden', h, '--targets', path]);
    expect(summary.nll).toBeCloseTo(head.scoreSync(hidden, TARGETS).nll, 6);
  });
});

describe('verify', () => {
  it('finds that native is right', async () => {
    const [random] = await jsonLines(['verify', file, '--positions', '2']);
    expect(random).toMatchObject({ positions: 2, ok: true, argmaxAgrees: true });
    const [given] = await jsonLines(['verify', file, '--hidden', h]);
    expect(given).toMatchObject({ positions: N, ok: true });
    expect(given.maxError).toBeLessThanOrEqual(given.bound as number);
    const { code, stdout } = await lmhead(['verify', file]);
    expect([code, stdout.split('\n')[0]]).toEqual([0, 'result         every logit is within its bound']);
  });

  it.skipIf(nativeUnavailable())(
    'holds every row of the copy that screening reads to its bound',
    async () => {
      const [found] = await jsonLines(['verify', file, '--hidden', h, '--screen']);
      expect(found).toMatchObject({ ok: true, screening: { ok: true, held: head.vocabSize } });
      expect((found.screening as { worst: number }).worst).toBeLessThan(1);
      const { code, stdout } = await lmhead(['verify', file, '--screen']);
      expect(code).toBe(0);
      expect(stdout).toMatch(/^screening +[\d,]+ rows are within their bounds, at most \d+ % of them$/m);
      expect((await jsonLines(['verify', file, '--hidden', h]))[0]).not.toHaveProperty('screening');

      // One that is saved is looked at unasked; and found out where a row is not as it says.
      const path = folder.path('screened.safetensors');
      const screened = await LMHead.open(file, { screen: true, backend: 'native' });
      screened.saveSync(path);
      expect((await jsonLines(['verify', path]))[0]).toMatchObject({ ok: true, screening: { ok: true } });
      expect((await jsonLines(['info', path]))[0].screen).toBe(screened.screening!.bytes);
      expect((await lmhead(['info', path])).stdout).toMatch(
        /^screening +a bounded copy of [\d.]+ kB, read first$/m,
      );
      const bytes = readFileSync(path);
      const tiles = 8 + Number(bytes.readBigUInt64LE(0));
      bytes.writeUInt16LE(0, tiles + 4 * 32 + 2 * 3); // ρ of row 3
      writeFileSync(path, bytes);
      const damaged = await lmhead(['verify', path]);
      expect(damaged.code).toBe(1);
      expect(damaged.stdout).toMatch(/^screening +row 3 is NOT as its copy says$/m);
    },
  );

  it('and so with integer activations, over weights that have them', async () => {
    const { head: small } = await head.quantize('i8');
    const quantized = folder.path('quantized.safetensors');
    small.saveSync(quantized);
    const [found] = await jsonLines(['verify', quantized, '--hidden', h, '--activations', 'i8']);
    expect(found).toMatchObject({ positions: N, ok: true, rounded: { positions: N } });
    const { max, rms } = found.rounded as { max: number; rms: number };
    expect(max).toBeGreaterThan(rms);
    const { stdout } = await lmhead(['verify', quantized, '--hidden', h, '--activations', 'i8']);
    expect(stdout).toContain(`activations    change logits by ${max.toExponential(2)} at most`);
    const { code, stderr } = await lmhead(['verify', file, '--activations', 'i8']);
    expect(code).toBe(1);
    expect(stderr).toContain("activations: got 'i8' for weights in f32");
  });
});

describe('convert', () => {
  const config = { model_type: 'gemma2', vocab_size: V - 1, hidden_size: D, final_logit_softcapping: 5 };
  const norm = Float32Array.from({ length: D }, (_, i) => i / D);
  let model: string;
  beforeAll(() => {
    folder.file('whole/config.json', JSON.stringify(config));
    folder.file(
      'whole/model.safetensors',
      safetensors([
        floats('model.embed_tokens.weight', [V, D], weight),
        floats('model.norm.weight', [D], norm),
        floats('model.layers.0.mlp.up_proj.weight', [9, D], someNumbers(9 * D, 5)),
      ]),
    );
    model = folder.path('whole');
  });

  it.each([undefined, 'f32', 'f16', 'bf16', 'i8'] as const)(
    'as %s, with all that makes logits',
    async dtype => {
      const output = folder.path(`as-${dtype}.safetensors`);
      const options = dtype ? ['--dtype', dtype] : [];
      const [line] = await jsonLines(['convert', model, '-o', output, ...options]);
      const held = dtype ?? 'f32';
      expect(line).toMatchObject({ output, family: 'gemma2', vocabSize: V, hiddenSize: D, dtype: held });
      const whole = LMHead.openSync(model);
      const alone = LMHead.openSync(output);
      expect(alone).toMatchObject({ vocabSize: V, hiddenSize: D, tied: true });
      expect(alone.dtype).toBe(held);
      const expected = whole.logitsSync(hidden, { norm: true });
      const got = alone.logitsSync(hidden, { norm: true });
      if (held === 'f32') expect(got).toEqual(expected);
      const error = { f32: 0, f16: 2 ** -8, bf16: 2 ** -5, i8: 0.1 }[held];
      for (const [i, want] of expected.entries()) {
        if (want === -Infinity) expect(got[i]).toBe(want);
        else expect(Math.abs(got[i] - want)).toBeLessThanOrEqual(error);
      }
      expect(alone.embed([3])).toHaveLength(D);
    },
  );

  it('rounds to the nearest number', async () => {
    const output = folder.path('rounded.safetensors');
    await jsonLines(['convert', file, '-o', output, '--dtype', 'bf16', '--backend', 'reference']);
    const row = LMHead.openSync(output).embed([4]);
    const scale = 2 ** -8; // half a unit of eight bits
    for (let k = 0; k < D; k++) {
      const x = weight[4 * D + k];
      expect(Math.abs(row[k] - x)).toBeLessThanOrEqual(Math.abs(x) * scale);
    }
  });

  it('says what it wrote to people', async () => {
    const output = folder.path('people.safetensors');
    const { code, stdout } = await lmhead(['convert', file, '-o', output, '--dtype', 'i8']);
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^written +.*people.safetensors\nvocabulary +211 tokens\nhidden size +13\nweights +i8, 3.59 kB\nerror +0.\d+ %\n$/,
    );
  });

  it('replaces no file but by force', async () => {
    const output = folder.path('there.safetensors');
    expect((await lmhead(['convert', file, '-o', output])).code).toBe(0);
    const { code, stderr } = await lmhead(['convert', file, '-o', output, '--dtype', 'f16']);
    expect(code).toBe(2);
    expect(stderr).toContain('there.safetensors exists; want another name, or --force');
    expect(LMHead.openSync(output).dtype).toBe('f32');
    expect((await lmhead(['convert', file, '-o', output, '--dtype', 'f16', '--force'])).code).toBe(0);
    expect(LMHead.openSync(output).dtype).toBe('f16');
  });

  it('makes no infinities', async () => {
    const large = folder.file(
      'large.safetensors',
      safetensors([floats('lm_head.weight', [2, 2], Float32Array.of(1, 2, 65520, 4))]),
    );
    const output = folder.path('small.safetensors');
    const { code, stderr } = await lmhead(['convert', large, '-o', output, '--dtype', 'f16']);
    expect([code, stderr]).toEqual([
      1,
      'lmhead: ERR_LMHEAD_RANGE: dtype: got f16 for a weight of 65520; want f32 or bf16\n',
    ]);
    expect(existsSync(output)).toBe(false);
  });
});

describe('bench', () => {
  it('times every method over random weights', async () => {
    const lines = await jsonLines([
      'bench',
      '--vocab',
      '300',
      '--size',
      '16',
      '--dtype',
      'f16',
      '--threads',
      '1',
    ]);
    expect(lines.length).toBeGreaterThanOrEqual(12);
    for (const line of lines) {
      expect(line).toMatchObject({ vocabSize: 300, hiddenSize: 16, dtype: 'f16', threads: 1 });
      const { best, median } = line.seconds as Record<string, number>;
      expect(best).toBeGreaterThan(0);
      expect(median).toBeGreaterThanOrEqual(best);
    }
  });
});

/** The bits of a number that f16 holds exactly, not subnormal. */
function half(x: number): number {
  if (x === 0) return 0;
  const exponent = Math.floor(Math.log2(Math.abs(x)));
  const fraction = (Math.abs(x) / 2 ** exponent - 1) * 1024;
  return (x < 0 ? 0x8000 : 0) | ((exponent + 15) << 10) | fraction;
}
