/** The commands that look into a model, against what the library returns. */
import { describe, expect, it } from 'vitest';
import { bytesOf } from '../support/bytes';
import { cliModel, D, head, LAYERS, lastStates, N, piped, row, states, texts, V } from '../support/cli-model';
import { jsonLines, lmhead } from '../support/command';
import { npy } from '../support/npy';
import { someNumbers } from '../support/numbers';
import { floats, safetensors } from '../support/safetensors';

const model = cliModel();
const { folder } = model;

describe('lens', () => {
  it('says what the head says of each layer and position', async () => {
    const lines = await jsonLines(['lens', model.file, '--hidden', model.layers, '-k', '2']);
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
    const all = await jsonLines(['lens', model.file, '--hidden', model.layers]);
    const batch = folder.file('batch.npy', npy('<f4', [LAYERS, 1, N, D], bytesOf(states)));
    expect(await jsonLines(['lens', model.file, '--hidden', batch])).toEqual(all);
    expect(await jsonLines(['lens', model.file, '--hidden', model.layers, '--positions'])).toEqual(all);
    const one = Float32Array.from(
      { length: LAYERS * D },
      (_, i) => states[Math.floor(i / D) * N * D + (i % D)],
    );
    const single = folder.file('single.npy', npy('<f4', [LAYERS, D], bytesOf(one)));
    expect(await jsonLines(['lens', model.file, '--hidden', single])).toEqual(all.slice(0, LAYERS));
    const some = await jsonLines([
      'lens',
      model.file,
      '--hidden',
      model.layers,
      '--positions',
      '2,0-1',
      '--limit',
      '2',
    ]);
    expect(some).toEqual([...all.slice(2 * LAYERS), ...all.slice(0, LAYERS)]);
    const { code, stderr } = await lmhead([
      'lens',
      model.file,
      '--hidden',
      model.layers,
      '--positions',
      '1-3',
    ]);
    expect([code, stderr]).toEqual([
      2,
      "lmhead: --positions: got '1-3'; want positions from 0 to 2, such as 0-9,12; lmhead --help shows how\n",
    ]);
    const bytes = npy('<f4', [LAYERS, N, D], bytesOf(states));
    const pipe = await piped(bytes, ['lens', model.file, '--hidden', '-', '--positions', '1', '--json']);
    expect(
      pipe.stdout
        .trimEnd()
        .split('\n')
        .map(line => JSON.parse(line)),
    ).toEqual(all.slice(LAYERS, 2 * LAYERS));
  });

  it('of a last layer that is normalized already', async () => {
    const lines = await jsonLines(['lens', model.file, '--hidden', model.layers, '--last-normed', '-k', '1']);
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
      const args = ['lens', model.file, '--hidden', model.layers, '-k', '2', '--translators', path, ...flags];
      const lines = await jsonLines(args);
      const translators = [...maps.map(map => ({ ...map, residual })), null, null];
      const best = head.lensSync(states, 2, { translators });
      for (const [at, { logits }] of lines.entries())
        expect(logits).toEqual(row(best.logits, (at % LAYERS) * N + Math.floor(at / LAYERS), 2));
    }
    const misused = await lmhead(['lens', model.file, '--hidden', model.layers, '--affine']);
    expect(misused.stderr).toContain('lens: got --affine without --translators; want both');
    const few = folder.file('few.npy', npy('<f4', [1, D], bytesOf(states.slice(0, D))));
    const { stderr } = await lmhead(['lens', model.file, '--hidden', few, '--translators', path]);
    expect(stderr).toContain('ERR_LMHEAD_SHAPE: translators: got 2 for 1 layers; want one per layer at most');
  });

  it('in a table', async () => {
    const { code, stdout } = await lmhead([
      'lens',
      model.file,
      '--hidden',
      model.layers,
      '-k',
      '2',
      '--limit',
      '1',
    ]);
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
    expect(await jsonLines(['nearest', model.file, '--id', '7', ...more])).toEqual([line]);
    expect(await jsonLines(['nearest', model.file, '--token', ' word7', ...more])).toEqual([line]);
    const lines = await jsonLines(['nearest', model.file, '--hidden', model.h, '--limit', '2']);
    expect(lines).toHaveLength(2);
    lines.forEach((each, i) => {
      const { ids, similarities } = head.nearestSync(lastStates.subarray(i * D, (i + 1) * D), 10);
      expect(each).toMatchObject({
        position: i,
        ids: Array.from(ids),
        similarities: Array.from(similarities),
      });
    });
    const { stdout } = await lmhead(['nearest', model.file, '--id', '7', ...more]);
    expect(stdout.split('\n')[2]).toMatch(/^ +1 +7 +1\.0000 {2}" word7"$/);
  });

  it('of a text that is no token', async () => {
    const { code, stderr } = await lmhead(['nearest', model.file, '--token', 'word7']);
    expect([code, stderr]).toEqual([
      1,
      'lmhead: ERR_LMHEAD_RANGE: token: got "word7", which is no single token of tokenizer.json; want one that is, often with a space before it\n',
    ]);
    const none = await lmhead(['nearest', model.file, '--token', 'x', '--tokenizer', 'none']);
    expect(none.stderr).toContain('ERR_LMHEAD_TENSOR: token: got a text without a tokenizer');
  });
});
