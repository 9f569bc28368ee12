/** The commands over methods of a head that give more than scores, against what the library returns. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { beforeAll, describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { main } from '../../lib/cli/main';
import { Progress } from '../../lib/cli/progress';
import { bytesOf } from '../support/bytes';
import { jsonLines, lmhead } from '../support/command';
import { temporaryFolder } from '../support/folders';
import { npy } from '../support/npy';
import { someNumbers } from '../support/numbers';
import { packageFolder } from '../support/processes';
import { floats, safetensors } from '../support/safetensors';
import { tokenizerJson } from '../support/tokenizers';

const V = 97;
const D = 32;
const LAYERS = 4;
const N = 3;
const folder = temporaryFolder();
const weight = someNumbers(V * D, 1);
const norm = { type: 'rmsnorm', weight: someNumbers(D, 5).map(x => 1 + x / 4), eps: 1e-5 } as const;
const head = LMHead.from(weight, { vocabSize: V, hiddenSize: D, norm });
/** [layers, n, d] */
const states = someNumbers(LAYERS * N * D, 2).map(x => 3 * x);
const texts = Array.from({ length: V }, (_, id) => ` word${id}`);
let file: string;
let h: string;
let layers: string;

const lastStates = states.slice((LAYERS - 1) * N * D);
const row = <T>(array: ArrayLike<T>, i: number, k: number) => Array.from(array).slice(i * k, (i + 1) * k);

beforeAll(() => {
  folder.file(
    'model/model.safetensors',
    safetensors([floats('lm_head.weight', [V, D], weight), floats('model.norm.weight', [D], norm.weight)]),
  );
  folder.file(
    'model/config.json',
    JSON.stringify({ model_type: 'llama', vocab_size: V, hidden_size: D, rms_norm_eps: 1e-5 }),
  );
  folder.file('model/tokenizer.json', tokenizerJson(texts));
  file = folder.path('model');
  h = folder.file('h.npy', npy('<f4', [N, D], bytesOf(lastStates)));
  layers = folder.file('layers.npy', npy('<f4', [LAYERS, N, D], bytesOf(states)));
});

/** With these bytes on the standard input. */
async function piped(bytes: Buffer, args: string[], chunk = 7) {
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

describe('lens', () => {
  it('says what the head says of each layer and position', async () => {
    const lines = await jsonLines(['lens', file, '--hidden', layers, '-k', '2']);
    expect(lines).toHaveLength(LAYERS * N);
    const best = head.lensSync(states, 2);
    const last = head.argmaxSync(lastStates, { norm: true });
    const targets = Array.from({ length: LAYERS * N }, (_, i) => last[i % N]);
    const { ranks, entropy } = head.scoreSync(states, targets, { norm: true, entropy: true });
    const logProbs = head.logProbsSync(states, { norm: true });
    for (const [at, line] of lines.entries()) {
      const [position, layer] = [Math.floor(at / LAYERS), at % LAYERS];
      const i = layer * N + position;
      let kl = 0;
      for (let id = 0; id < V; id++) {
        const p = logProbs[((LAYERS - 1) * N + position) * V + id];
        kl += Math.exp(p) * (p - logProbs[i * V + id]);
      }
      expect(line).toEqual({
        ...{ position, layer, ids: row(best.ids, i, 2), logits: row(best.logits, i, 2) },
        ...{ logProbs: row(best.logProbs, i, 2), logSumExp: best.logSumExp[i] },
        ...{ entropy: entropy![i], finalRank: ranks[i], klDivergence: line.klDivergence },
        texts: row(best.ids, i, 2).map(id => texts[id]),
      });
      expect(line.klDivergence).toBeCloseTo(kl, 5);
      if (layer === LAYERS - 1) expect([line.finalRank, line.klDivergence]).toEqual([1, 0]);
    }
  });

  it('takes one position, batches of one, and chosen positions', async () => {
    const all = await jsonLines(['lens', file, '--hidden', layers]);
    const batch = folder.file('batch.npy', npy('<f4', [LAYERS, 1, N, D], bytesOf(states)));
    expect(await jsonLines(['lens', file, '--hidden', batch])).toEqual(all);
    expect(await jsonLines(['lens', file, '--hidden', layers, '--positions'])).toEqual(all);
    const one = Float32Array.from(
      { length: LAYERS * D },
      (_, i) => states[Math.floor(i / D) * N * D + (i % D)],
    );
    const single = folder.file('single.npy', npy('<f4', [LAYERS, D], bytesOf(one)));
    expect(await jsonLines(['lens', file, '--hidden', single])).toEqual(all.slice(0, LAYERS));
    const some = await jsonLines(['lens', file, '--hidden', layers, '--positions', '2,0-1', '--limit', '2']);
    expect(some).toEqual([...all.slice(2 * LAYERS), ...all.slice(0, LAYERS)]);
    const { code, stderr } = await lmhead(['lens', file, '--hidden', layers, '--positions', '1-3']);
    expect([code, stderr]).toEqual([
      2,
      "lmhead: --positions: got '1-3'; want positions from 0 to 2, such as 0-9,12; lmhead --help shows how\n",
    ]);
    const bytes = npy('<f4', [LAYERS, N, D], bytesOf(states));
    const pipe = await piped(bytes, ['lens', file, '--hidden', '-', '--positions', '1', '--json']);
    expect(
      pipe.stdout
        .trimEnd()
        .split('\n')
        .map(line => JSON.parse(line)),
    ).toEqual(all.slice(LAYERS, 2 * LAYERS));
  });

  it('of a last layer that is normalized already', async () => {
    const lines = await jsonLines(['lens', file, '--hidden', layers, '--last-normed', '-k', '1']);
    expect(lines[LAYERS - 1].ids).toEqual([head.argmaxSync(lastStates)[0]]);
    expect(lines[0].ids).toEqual(row(head.lensSync(states, 1).ids, 0, 1));
  });

  it('through translators of a file', async () => {
    const maps = [0, 1].map(i => ({ weight: someNumbers(D * D, 40 + i), residual: true }));
    const path = folder.file(
      'tuned.safetensors',
      safetensors(maps.map(({ weight }, i) => floats(`${i}.weight`, [D, D], weight))),
    );
    for (const [residual, flags] of [
      [true, []],
      [false, ['--affine']],
    ] as const) {
      const args = ['lens', file, '--hidden', layers, '-k', '2', '--translators', path, ...flags];
      const lines = await jsonLines(args);
      const translators = [...maps.map(map => ({ ...map, residual })), null, null];
      const best = head.lensSync(states, 2, { translators });
      for (const [at, { logits }] of lines.entries())
        expect(logits).toEqual(row(best.logits, (at % LAYERS) * N + Math.floor(at / LAYERS), 2));
    }
    const misused = await lmhead(['lens', file, '--hidden', layers, '--affine']);
    expect(misused.stderr).toContain('lens: got --affine without --translators; want both');
    const few = folder.file('few.npy', npy('<f4', [1, D], bytesOf(states.slice(0, D))));
    const { stderr } = await lmhead(['lens', file, '--hidden', few, '--translators', path]);
    expect(stderr).toContain('ERR_LMHEAD_SHAPE: translators: got 2 for 1 layers; want one per layer at most');
  });

  it('in a table', async () => {
    const { code, stdout } = await lmhead(['lens', file, '--hidden', layers, '-k', '2', '--limit', '1']);
    expect(code).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^position +layer +rank +id +logit +p +entropy +final rank +KL to last +token$/);
    expect(lines).toHaveLength(2 + LAYERS * 2);
    expect(lines.at(-2)).toMatch(/ 1 +0\.000 {2}" word\d+"$/);
  });
});

describe('nearest', () => {
  it('by id, by text, by vector', async () => {
    const expected = head.nearestSync(7, 4, { metric: 'cosine' });
    const line = {
      ids: Array.from(expected.ids),
      similarities: Array.from(expected.similarities),
      texts: Array.from(expected.ids, id => texts[id]),
    };
    const more = ['-k', '4', '--metric', 'cosine'];
    expect(await jsonLines(['nearest', file, '--id', '7', ...more])).toEqual([line]);
    expect(await jsonLines(['nearest', file, '--token', ' word7', ...more])).toEqual([line]);
    const lines = await jsonLines(['nearest', file, '--hidden', h, '--limit', '2']);
    expect(lines).toHaveLength(2);
    lines.forEach((each, i) => {
      const { ids, similarities } = head.nearestSync(lastStates.subarray(i * D, (i + 1) * D), 10);
      expect(each).toMatchObject({
        position: i,
        ids: Array.from(ids),
        similarities: Array.from(similarities),
      });
    });
    const { stdout } = await lmhead(['nearest', file, '--id', '7', ...more]);
    expect(stdout.split('\n')[2]).toMatch(/^ +1 +7 +1\.0000 {2}" word7"$/);
  });

  it('of a text that is no token', async () => {
    const { code, stderr } = await lmhead(['nearest', file, '--token', 'word7']);
    expect([code, stderr]).toEqual([
      1,
      'lmhead: ERR_LMHEAD_RANGE: token: got "word7", which is no single token of tokenizer.json; want one that is, often with a space before it\n',
    ]);
    const none = await lmhead(['nearest', file, '--token', 'x', '--tokenizer', 'none']);
    expect(none.stderr).toContain('ERR_LMHEAD_TENSOR: token: got a text without a tokenizer');
  });
});

describe('sample', () => {
  it('draws what the library draws', async () => {
    const options = { temperature: 1.5, topK: 20, topP: 0.9, minP: 0.01, typicalP: 0.99, seed: 5 };
    const flags = ['--temperature', '1.5', '--top-k', '20', '--top-p', '0.9', '--min-p', '0.01'];
    const lines = await jsonLines([
      'sample',
      file,
      '--hidden',
      h,
      ...flags,
      '--typical-p',
      '0.99',
      '--seed',
      '5',
    ]);
    const drawn = head.sampleSync(lastStates, { ...options, topLogProbs: 0 });
    expect(lines).toEqual(
      Array.from(drawn.ids, (id, position) => ({
        ...{ position, id, logProb: drawn.logProbs[position], modelLogProb: drawn.modelLogProbs![position] },
        text: texts[id],
      })),
    );
  });

  it('whatever the blocks, and greedily at 0', async () => {
    const many = someNumbers(1500 * D, 9);
    const path = folder.file('many.npy', npy('<f4', [1500, D], bytesOf(many)));
    const lines = await jsonLines(['sample', file, '--hidden', path, '--seed', '3']);
    expect(lines.map(line => line.id)).toEqual(Array.from(head.sampleSync(many, { seed: 3 }).ids));
    const greedy = await jsonLines(['sample', file, '--hidden', h, '--temperature', '0', '--norm']);
    expect(greedy.map(line => line.id)).toEqual(Array.from(head.argmaxSync(lastStates, { norm: true })));
    expect((await lmhead(['sample', file, '--hidden', h, '--seed', '1'])).stdout).toMatch(
      /^position +id +log p +p +model p +token\n/,
    );
  });
});

describe('quantize', () => {
  it.each(['i8', 'q8_0'] as const)('to %s writes a head, and says its error', async dtype => {
    const out = folder.path(`${dtype}.safetensors`);
    const [line] = await jsonLines(['quantize', file, '--dtype', dtype, '--out', out, '--hidden', h]);
    const { head: made, error } = await head.quantize(dtype, { hidden: lastStates });
    expect(line).toEqual({ from: 'f32', to: dtype, ...error, file: out });
    const opened = await LMHead.open(out);
    expect(opened.logitsSync(lastStates)).toEqual(made.logitsSync(lastStates));
    expect(opened.lensSync(lastStates, 1).ids).toEqual(made.lensSync(lastStates, 1).ids);
    opened.close();
    made.close();
  });

  it('or only measures', async () => {
    const { code, stdout } = await lmhead(['quantize', file]);
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^weights +97 × 32, from f32 to i8\ntheir error +at most \S+, root mean square \S+, \S+ % of their size\nfile +none written/,
    );
    const [line] = await jsonLines(['quantize', file, '--hidden', h, '--limit', '2', '--activations', 'i8']);
    expect(line).toMatchObject({ logits: { positions: 2 }, file: null });
    const { code: failed, stderr } = await lmhead([
      'quantize',
      file,
      '--out',
      folder.path('no/such/x.safetensors'),
    ]);
    expect([failed, stderr]).toEqual([1, expect.stringMatching(/^lmhead: ERR_LMHEAD_IO: /)]);
    expect(existsSync(folder.path('no'))).toBe(false);
  });
});

describe('diff', () => {
  it('of a head and its copy in 8 bits', async () => {
    const { head: made, error } = await head.quantize('i8', { hidden: lastStates });
    const other = folder.path('other.safetensors');
    made.saveSync(other);
    const lines = await jsonLines(['diff', file, other, '--hidden', h, '--each']);
    expect(lines).toHaveLength(N + 1);
    const summary = lines.at(-1)!;
    const { max, rms, klDivergence, argmaxAgreement } = error.logits!;
    expect(summary).toMatchObject({ positions: N, max, argmaxAgreement });
    expect(summary.rms).toBeCloseTo(rms, 12);
    expect(summary.klDivergence).toBeCloseTo(klDivergence, 12);
    expect(Math.max(...lines.slice(0, N).map(line => line.max as number))).toBe(max);
    expect(lines[0].argmax).toEqual([head.argmaxSync(lastStates)[0], made.argmaxSync(lastStates)[0]]);
    const { stdout } = await lmhead(['diff', file, other, '--hidden', h, '--each']);
    expect(stdout.trimEnd().split('\n')).toHaveLength(2 + N + 1 + 4);
    made.close();
  });

  it('of a head with itself, and with one that has more tokens', async () => {
    const [same] = await jsonLines(['diff', file, file, '--hidden', h, '--norm']);
    expect(same).toEqual({ positions: N, max: 0, rms: 0, klDivergence: 0, argmaxAgreement: 1 });
    const more = new Float32Array((V + 3) * D);
    more.set(weight);
    const larger = folder.file(
      'larger.safetensors',
      safetensors([floats('lm_head.weight', [V + 3, D], more)]),
    );
    const [up] = await jsonLines(['diff', file, larger, '--hidden', h]);
    expect(up).toMatchObject({ max: 0, rms: 0 });
    expect(up.klDivergence).toBeGreaterThan(0);
    const [down] = await jsonLines(['diff', larger, file, '--hidden', h]);
    expect(down).toMatchObject({ max: 0, klDivergence: 'Infinity' });
    const other = folder.file(
      'wide.safetensors',
      safetensors([floats('lm_head.weight', [V, 8], someNumbers(V * 8, 1))]),
    );
    const { stderr } = await lmhead(['diff', file, other, '--hidden', h]);
    expect(stderr).toBe(
      'lmhead: ERR_LMHEAD_SHAPE: OTHER: got a head of hidden size 8; want 32, as that of FILE\n',
    );
  });
});

describe('hidden states', () => {
  it('come from a pipe, in whatever pieces', async () => {
    for (const [descr, bytes] of [
      ['<f4', bytesOf(lastStates)],
      ['<f8', bytesOf(Float64Array.from(lastStates))],
    ] as const) {
      const expected = await lmhead(['topk', file, '--hidden', h, '--json']);
      for (const chunk of [1, 100, 100_000]) {
        const found = await piped(
          npy(descr, [1, N, D], bytes),
          ['topk', file, '--hidden', '-', '--json'],
          chunk,
        );
        expect(found).toEqual(expected);
      }
    }
  });

  it('of which a pipe has too few, or none', async () => {
    const cut = await piped(npy('<f4', [N, D], bytesOf(lastStates)).subarray(0, -1), [
      'topk',
      file,
      '--hidden',
      '-',
    ]);
    expect(cut.code).toBe(1);
    expect(cut.stderr).toMatch(
      /^lmhead: ERR_LMHEAD_IO: hidden: the standard input ended after \d+ bytes; want a whole \.npy file\n$/,
    );
    const empty = await piped(Buffer.alloc(0), ['topk', file, '--hidden', '-']);
    expect(empty.stderr).toContain('hidden: the standard input ended after 0 bytes');
    const wrong = await piped(npy('<f4', [N, 3], new Uint8Array(36)), ['topk', file, '--hidden', '-']);
    expect(wrong.stderr).toContain('hidden: the standard input is [3,3]; want [n,32] or [1,n,32]');
    const terminal = await lmhead(['topk', file, '--hidden', '-']);
    expect(terminal.stderr).toContain('the standard input is a terminal; want a .npy file from a pipe');
  });

  it.skipIf(process.platform === 'win32')('come from a pipe that stays open', async () => {
    const program = join(packageFolder, 'dist/cli/index.js');
    const child = spawn(process.execPath, [program, 'topk', file, '--hidden', '-', '--json', '--limit', '2']);
    child.stdin.on('error', () => {});
    child.stdin.write(npy('<f4', [N, D], bytesOf(lastStates)));
    let lines = '';
    child.stdout.on('data', chunk => {
      lines += chunk;
    });
    expect(await new Promise(done => child.on('close', done))).toBe(0);
    expect(lines.trimEnd().split('\n')).toHaveLength(2);
  });

  it.skipIf(process.platform === 'win32')('are waited for no longer than until a signal', async () => {
    const program = join(packageFolder, 'dist/cli/index.js');
    const whole = npy('<f4', [9000, D], new Uint8Array(9000 * D * 4));
    const targets = folder.file('t.npy', npy('<i4', [9000], new Uint8Array(9000 * 4)));
    const second = spawn(process.execPath, [
      program,
      'score',
      file,
      '--hidden',
      '-',
      '--targets',
      targets,
      '--json',
      '--each',
    ]);
    second.stdin.write(whole.subarray(0, -8));
    let [out, err] = ['', ''];
    let asked = false;
    second.stdout.on('data', chunk => {
      out += chunk;
      // A second signal would end it at once.
      if (!asked && out.split('\n').length > 8000) asked = second.kill('SIGINT');
    });
    second.stderr.on('data', chunk => {
      err += chunk;
    });
    expect(await new Promise(done => second.on('close', done))).toBe(130);
    const [, done] = /^lmhead: stopped by SIGINT after ([\d,]+) of 9,000 positions\n$/.exec(err)!;
    const summary = JSON.parse(out.trimEnd().split('\n').at(-1)!);
    expect(summary).toMatchObject({ positions: Number(done.replace(',', '')), complete: false });
    expect(summary.nll).toBeCloseTo(Math.log(V), 5);
  });

  it('may be limited to the first', async () => {
    expect(await jsonLines(['topk', file, '--hidden', h, '--limit', '2'])).toEqual(
      (await jsonLines(['topk', file, '--hidden', h])).slice(0, 2),
    );
    const t = folder.file('limit-t.npy', npy('<i4', [N], bytesOf(Int32Array.of(1, 2, 3))));
    const [summary] = await jsonLines(['score', file, '--hidden', h, '--targets', t, '--limit', '2']);
    expect(summary).toMatchObject({ positions: 2, count: 2 });
    expect(await jsonLines(['topk', file, '--hidden', h, '--limit', '99'])).toHaveLength(N);
  });
});

describe('a signal', () => {
  it.each([
    [
      'bench',
      ['bench', '--vocab', '3000', '--size', '64'],
      /^method +positions/m,
      /after [1-9]\d* of 12 lines/,
    ],
    [
      'verify',
      ['verify', 'model', '--positions', '1000000'],
      /^positions +[\d,]+ over 97 tokens$/m,
      /after [\d,]+ of 1,000,000 positions/,
    ],
  ])('leaves what %s has done', async (_, [name, ...more], table, where) => {
    const controller = new AbortController();
    const text = { stdout: '', stderr: '' };
    const stream = (to: 'stdout' | 'stderr') =>
      new Writable({
        write(part, _encoding, done) {
          text[to] += part;
          // When the progress says that something is done.
          if (/[1-9][\d,]* of/.test(text.stderr)) controller.abort('SIGINT');
          done();
        },
      });
    const streams = { stdout: stream('stdout'), stderr: Object.assign(stream('stderr'), { isTTY: true }) };
    const args = [name, ...more.map(each => (each === 'model' ? folder.path('model') : each))];
    expect(await main(args, streams, controller.signal)).toBe(130);
    expect(text.stderr).toMatch(where);
    expect(text.stdout).toMatch(table);
  });
});

it('progress is cut to the terminal', () => {
  const seen: string[] = [];
  const stderr = new Writable({
    write(text, _encoding, done) {
      seen.push(String(text));
      done();
    },
  });
  const progress = new Progress(
    { stderr: Object.assign(stderr, { isTTY: true, columns: 30 }) },
    1e6,
    'positions',
  );
  progress.update(5);
  progress.end();
  expect(seen[0].startsWith('\r\x1b[K')).toBe(true);
  expect([...seen[0].slice(4)].length).toBe(29);
});
