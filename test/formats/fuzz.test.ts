/** Changes of good files at random, always the same ones: `npm run test:long` tries many more. */
import { afterAll, beforeAll, describe, expect, it, type MockInstance, vi } from 'vitest';
import { LMHead, type LMHeadError } from '../../lib';
import { backends } from '../support/backends';
import { changed, goodMaterial, openChanged, opens } from '../support/file-fuzz';
import { temporaryFolder } from '../support/folders';
import { Random } from '../support/random';

const RUNS = 24_000;
/** So many of the files are made here, and hold a head. */
const OWN = 36;
const material = goodMaterial();
const folder = temporaryFolder();

let warnings: MockInstance;
beforeAll(() => {
  warnings = vi.spyOn(process, 'emitWarning').mockReturnValue(undefined);
});
afterAll(() => warnings.mockRestore());

it('the good files open, but for those of others without a head', () => {
  expect(material.slice(0, OWN).map(opens)).toEqual(Array(OWN).fill(true));
});

it(`${RUNS} changed ones open or are refused, and no more is read than there is`, () => {
  const opened = openChanged(material, 0, RUNS);
  // Some changes do no harm, and most do.
  expect(opened).toBeGreaterThan(RUNS / 100);
  expect(opened).toBeLessThan(RUNS / 2);
});

describe.each(backends)('as files, %s', backend => {
  it('change by change, every head that opens computes', () => {
    const outcomes = new Map<string, number>();
    for (let seed = 0; seed < 400; seed++) {
      const random = new Random(1_000_000 + seed);
      const { path, files } = changed(random.pick(material.slice(0, OWN)), random);
      // A folder of its own for each: what was written for another would be read too.
      for (const [name, bytes] of files) folder.file(`${backend}-${seed}${name}`, bytes);
      let outcome = 'head';
      try {
        const head = LMHead.openSync(folder.path(`${backend}-${seed}${path}`), { backend });
        const rows = Array.from({ length: head.vocabSize }, (_, i) => i);
        expect(head.embed(rows).length).toBe(head.vocabSize * head.hiddenSize);
        expect(head.logitsSync(new Float32Array(head.hiddenSize)).length).toBe(head.vocabSize);
        head.close();
      } catch (error) {
        outcome = (error as LMHeadError).code;
        expect(outcome).toMatch(/^ERR_LMHEAD_(FORMAT|TENSOR|DTYPE|SHAPE|RANGE|IO)$/);
      }
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
    expect(outcomes.get('head')).toBeGreaterThan(4);
    expect(outcomes.get('ERR_LMHEAD_FORMAT')).toBeGreaterThan(100);
  });
});
