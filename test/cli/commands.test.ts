/** The commands that draw tokens, quantize and compare, against what the library returns. */
import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { bytesOf } from '../support/bytes';
import { cliModel, D, head, lastStates, N, texts, V, weight } from '../support/cli-model';
import { jsonLines, lmhead } from '../support/command';
import { npy } from '../support/npy';
import { someNumbers } from '../support/numbers';
import { floats, safetensors } from '../support/safetensors';

const model = cliModel();
const { folder } = model;

describe('sample', () => {
  it('draws what the library draws', async () => {
    const options = { temperature: 1.5, topK: 20, topP: 0.9, minP: 0.01, typicalP: 0.99, seed: 5 };
    const flags = ['--temperature', '1.5', '--top-k', '20', '--top-p', '0.9', '--min-p', '0.01'];
    const lines = await jsonLines([
      'sample',
      model.file,
      '--hidden',
      model.h,
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
    const lines = await jsonLines(['sample', model.file, '--hidden', path, '--seed', '3']);
    expect(lines.map(line => line.id)).toEqual(Array.from(head.sampleSync(many, { seed: 3 }).ids));
    const greedy = await jsonLines([
      'sample',
      model.file,
      '--hidden',
      model.h,
      '--temperature',
      '0',
      '--norm',
    ]);
    expect(greedy.map(line => line.id)).toEqual(Array.from(head.argmaxSync(lastStates, { norm: true })));
    expect((await lmhead(['sample', model.file, '--hidden', model.h, '--seed', '1'])).stdout).toMatch(
      /^position +id +log p +p +model p +token\n/,
    );
  });
});

describe('quantize', () => {
  it.each(['i8', 'q8_0'] as const)('to %s writes a head, and says its error', async dtype => {
    const out = folder.path(`${dtype}.safetensors`);
    const [line] = await jsonLines([
      'quantize',
      model.file,
      '--dtype',
      dtype,
      '--out',
      out,
      '--hidden',
      model.h,
    ]);
    const { head: made, error } = await head.quantize(dtype, { hidden: lastStates });
    expect(line).toEqual({ from: 'f32', to: dtype, ...error, file: out });
    const opened = await LMHead.open(out);
    expect(opened.logitsSync(lastStates)).toEqual(made.logitsSync(lastStates));
    expect(opened.lensSync(lastStates, 1).ids).toEqual(made.lensSync(lastStates, 1).ids);
    opened.close();
    made.close();
  });

  it('or only measures', async () => {
    const { code, stdout } = await lmhead(['quantize', model.file]);
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^weights +97 × 32, from f32 to i8\ntheir error +at most \S+, root mean square \S+, \S+ % of their size\nfile +none written/,
    );
    const [line] = await jsonLines([
      'quantize',
      model.file,
      '--hidden',
      model.h,
      '--limit',
      '2',
      '--activations',
      'i8',
    ]);
    expect(line).toMatchObject({ logits: { positions: 2 }, file: null });
    const { code: failed, stderr } = await lmhead([
      'quantize',
      model.file,
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
    const lines = await jsonLines(['diff', model.file, other, '--hidden', model.h, '--each']);
    expect(lines).toHaveLength(N + 1);
    const summary = lines.at(-1)!;
    const { max, rms, klDivergence, argmaxAgreement } = error.logits!;
    expect(summary).toMatchObject({ positions: N, max, argmaxAgreement });
    expect(summary.rms).toBeCloseTo(rms, 12);
    expect(summary.klDivergence).toBeCloseTo(klDivergence, 12);
    expect(Math.max(...lines.slice(0, N).map(line => line.max as number))).toBe(max);
    expect(lines[0].argmax).toEqual([head.argmaxSync(lastStates)[0], made.argmaxSync(lastStates)[0]]);
    const { stdout } = await lmhead(['diff', model.file, other, '--hidden', model.h, '--each']);
    expect(stdout.trimEnd().split('\n')).toHaveLength(2 + N + 1 + 4);
    made.close();
  });

  it('of a head with itself, and with one that has more tokens', async () => {
    const [same] = await jsonLines(['diff', model.file, model.file, '--hidden', model.h, '--norm']);
    expect(same).toEqual({ positions: N, max: 0, rms: 0, klDivergence: 0, argmaxAgreement: 1 });
    const more = new Float32Array((V + 3) * D);
    more.set(weight);
    const larger = folder.file(
      'larger.safetensors',
      safetensors([floats('lm_head.weight', [V + 3, D], more)]),
    );
    const [up] = await jsonLines(['diff', model.file, larger, '--hidden', model.h]);
    expect(up).toMatchObject({ max: 0, rms: 0 });
    expect(up.klDivergence).toBeGreaterThan(0);
    const [down] = await jsonLines(['diff', larger, model.file, '--hidden', model.h]);
    expect(down).toMatchObject({ max: 0, klDivergence: 'Infinity' });
    const other = folder.file(
      'wide.safetensors',
      safetensors([floats('lm_head.weight', [V, 8], someNumbers(V * 8, 1))]),
    );
    const { stderr } = await lmhead(['diff', model.file, other, '--hidden', model.h]);
    expect(stderr).toBe(
      'lmhead: ERR_LMHEAD_SHAPE: OTHER: got a head of hidden size 8; want 32, as that of FILE\n',
    );
  });
});
