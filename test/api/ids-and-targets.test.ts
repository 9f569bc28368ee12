import { describe, expect, it } from 'vitest';
import type { ErrorKind } from '../../lib/errors';
import type { Ids } from '../../lib/types';
import { backends } from '../support/backends';
import { throwsKind } from '../support/errors';
import { D, headUnderTest, makeHead, someHidden, someWeight, V } from '../support/heads';
import { someNumbers } from '../support/numbers';

/** Wrong lists of two ids below `bound`; each message names the list and, where it can, the place. */
function wrongLists(bound: number): [what: string, ids: unknown, kind: ErrorKind, ...words: string[]][] {
  const want = `an id below ${bound}`;
  return [
    ['undefined', undefined, 'ARGUMENT', 'undefined', 'an array of token ids'],
    ['null', null, 'ARGUMENT', 'null'],
    ['a number', 3, 'ARGUMENT', 'got 3'],
    ['a string', '12', 'ARGUMENT', '"12"'],
    ['an object without length', {}, 'ARGUMENT', 'an object'],
    ['a length of −1', { length: -1 }, 'ARGUMENT', 'an object'],
    ['a length of 1.5', { length: 1.5 }, 'ARGUMENT', 'an object'],
    ['a length in quotes', { length: '2' }, 'ARGUMENT', 'an object'],
    ['a length of 2^53', { length: 2 ** 53 }, 'ARGUMENT', 'an object'],
    ['a Set', new Set([1, 2]), 'ARGUMENT', 'a Set'],
    ['a DataView', new DataView(new ArrayBuffer(8)), 'ARGUMENT', 'a DataView'],
    ['the id after the last', [0, bound], 'RANGE', '[1]', `got ${bound}`, want],
    ['−1', [-1, 0], 'RANGE', '[0]', 'got -1', want],
    ['2^32', [0, 2 ** 32], 'RANGE', '[1]', `${2 ** 32}`],
    ['2^32 − 1', [0, 2 ** 32 - 1], 'RANGE', '[1]', `${2 ** 32 - 1}`],
    ['a fraction', [0, 0.5], 'RANGE', '[1]', '0.5', want],
    ['NaN', [Number.NaN, 0], 'RANGE', '[0]', 'NaN'],
    ['∞', [Infinity, 0], 'RANGE', '[0]', 'Infinity'],
    ['a string within', ['1', 0], 'ARGUMENT', '[0]', '"1"', want],
    ['null within', [0, null], 'ARGUMENT', '[1]', 'null'],
    // biome-ignore lint/suspicious/noSparseArray: a hole is what is tested
    ['a hole', [, 0], 'ARGUMENT', '[0]', 'undefined'],
    ['a bigint −1', BigInt64Array.of(0n, -1n), 'RANGE', '[1]', '-1n', want],
    ['a bigint of 2^64 − 1', BigUint64Array.of(2n ** 64n - 1n, 0n), 'RANGE', '[0]'],
    ['a bigint after the last', BigInt64Array.of(BigInt(bound), 0n), 'RANGE', '[0]', `${bound}n`],
    ['float32 ids with a fraction', Float32Array.of(0, 0.25), 'RANGE', '[1]', '0.25'],
    ['int32 ids below 0', Int32Array.of(-5, 0), 'RANGE', '[0]', '-5'],
  ];
}

const right: [what: string, make: (ids: number[]) => Ids][] = [
  ['an array', ids => ids],
  ['a Uint32Array', ids => Uint32Array.from(ids)],
  ['an Int32Array', ids => Int32Array.from(ids)],
  ['a Uint8Array', ids => Uint8Array.from(ids)],
  ['a Float32Array', ids => Float32Array.from(ids)],
  ['a BigInt64Array', ids => BigInt64Array.from(ids.map(BigInt))],
  ['a BigUint64Array', ids => BigUint64Array.from(ids.map(BigInt))],
  ['a list that is no array', ids => ({ ...ids, length: ids.length })],
];

describe.each(backends)('embed, %s', backend => {
  const weight = someWeight();
  const { head, worksOn } = headUnderTest(backend, { validVocabSize: V - 3 });
  const rows = (ids: number[]) => ids.flatMap(id => [...weight.subarray(id * D, (id + 1) * D)]);

  it.each(wrongLists(V))('refuses %s', (_, ids, kind, ...words) => {
    throwsKind(() => head.embed(ids as Ids), kind, 'ids', ...words);
    expect([...head.embed([V - 1])]).toEqual(rows([V - 1]));
    worksOn();
  });

  it.each(right)('takes %s', (_, make) => {
    const ids = [V - 1, 0, 3, 3]; // the padding has rows too
    expect([...head.embed(make(ids))]).toEqual(rows(ids));
  });

  it('of no ids is empty', () => {
    expect(head.embed([])).toEqual(new Float32Array(0));
    const out = Float32Array.of(7);
    expect(head.embed([], out)).toBe(out);
    expect([...out]).toEqual([7]);
  });

  it('takes -0 for the first id', () => {
    expect([...head.embed([-0])]).toEqual(rows([0]));
  });

  it('writes to the start of out, returns it, and leaves the rest', () => {
    const out = new Float32Array(2 * D + 2).fill(5);
    expect(head.embed([2, 1], out)).toBe(out);
    expect([...out]).toEqual([...rows([2, 1]), 5, 5]);
  });

  it('refuses an out that is no array, too small, or on the memory of the ids', () => {
    const ids = new Float32Array(D).fill(1);
    throwsKind(() => head.embed([1], [] as unknown as Float32Array), 'ARGUMENT', 'out', 'an array');
    throwsKind(() => head.embed([1], null as unknown as Float32Array), 'ARGUMENT', 'out', 'null');
    throwsKind(() => head.embed([1], new Float64Array(D) as never), 'DTYPE', 'out', 'Float64Array');
    throwsKind(() => head.embed([1, 2], new Float32Array(2 * D - 1)), 'SHAPE', 'out', `at least ${2 * D}`);
    throwsKind(() => head.embed(ids.subarray(0, 1), ids), 'RANGE', 'out', 'overlaps ids');
    worksOn();
  });

  it('leaves out alone where an id is wrong', () => {
    const out = new Float32Array(2 * D).fill(5);
    throwsKind(() => head.embed([1, V], out), 'RANGE', 'ids[1]');
    expect(out).toEqual(new Float32Array(2 * D).fill(5));
  });

  it('multiplies by embeddingScale, and the logits not', () => {
    const scaled = makeHead(backend, { embeddingScale: 3 });
    expect(scaled.embed([4])).toEqual(Float32Array.from(rows([4]), x => x * 3));
    expect(scaled.logitsSync(someHidden())).toEqual(makeHead(backend).logitsSync(someHidden()));
    const out = new Float32Array(D + 1).fill(5);
    scaled.embed([4], out);
    expect(out[D]).toBe(5);
  });

  it('reads inputEmbedding where there is one, and the logits the weight', () => {
    const inputEmbedding = someNumbers(V * D, 77);
    const untied = makeHead(backend, { inputEmbedding });
    expect([...untied.embed([5, 1])]).toEqual([
      ...inputEmbedding.subarray(5 * D, 6 * D),
      ...inputEmbedding.subarray(D, 2 * D),
    ]);
    expect(untied.logitsSync(someHidden())).toEqual(makeHead(backend).logitsSync(someHidden()));
  });
});

describe.each(backends)('targets, %s', backend => {
  const valid = V - 3;
  const { head, hidden, refuses, worksOn } = headUnderTest(backend, { validVocabSize: valid });

  it.each(wrongLists(valid).slice(1))('are not %s', async (_, targets, kind, ...words) => {
    await refuses('score', [hidden, { targets }], kind, 'targets', ...words);
    await refuses('run', [hidden, { targets }], kind, 'targets', ...words);
  });

  it('cannot be left out of score', () => {
    throwsKind(() => head.scoreSync(hidden, undefined as never), 'ARGUMENT', 'targets', 'undefined');
  });

  it.each([0, 1, 3])('are two for two hidden states, not %i', async count => {
    const targets = new Uint32Array(count);
    await refuses('score', [hidden, { targets }], 'SHAPE', 'targets', `got ${count} ids`, 'want 2');
  });

  it.each(right)('may be %s', (_, make) => {
    expect(head.scoreSync(hidden, make([valid - 1, 0]))).toEqual(head.scoreSync(hidden, [valid - 1, 0]));
  });

  it.each([-100, -1, 0, 1, V, 2 ** 32 - 1, -(2 ** 40)])(
    'equal to ignoreIndex %i count in nothing',
    ignoreIndex => {
      const three = someHidden(3);
      const plain = head.scoreSync(three, [2, 3, 4], { entropy: true });
      const score = head.scoreSync(three, [2, ignoreIndex, 4], { ignoreIndex, entropy: true });
      expect(score.count).toBe(2);
      expect([...score.logProbs]).toEqual([plain.logProbs[0], 0, plain.logProbs[2]]);
      expect([...score.ranks]).toEqual([plain.ranks[0], 0, plain.ranks[2]]);
      expect([...score.entropy!]).toEqual([plain.entropy![0], 0, plain.entropy![2]]);
      expect(score.nll).toBeCloseTo(-(plain.logProbs[0] + plain.logProbs[2]) / 2, 12);
      expect(score.perplexity).toBe(Math.exp(score.nll));
      expect(score.nllSum / score.count).toBe(score.nll);
    },
  );

  it('may be ignored in bigints too, and all of them', () => {
    const ignored = head.scoreSync(hidden, BigInt64Array.of(-100n, -100n), { ignoreIndex: -100 });
    expect(ignored).toMatchObject({ count: 0, nllSum: 0, nll: Number.NaN, perplexity: Number.NaN });
    expect([...ignored.logProbs, ...ignored.ranks]).toEqual([0, 0, 0, 0]);
  });

  it('below 0 are ids out of range where no ignoreIndex is given', async () => {
    await refuses('score', [hidden, { targets: [-100, 0] }], 'RANGE', 'targets[0]', '-100', 'ignoreIndex');
  });

  it.each([
    [1.5, 'RANGE'],
    [Number.NaN, 'RANGE'],
    [Infinity, 'RANGE'],
    [2 ** 53, 'RANGE'],
    ['-100', 'ARGUMENT'],
    [null, 'ARGUMENT'],
    [-100n, 'ARGUMENT'],
  ] as const)('have no ignoreIndex %s', async (ignoreIndex, kind) => {
    const options = { targets: [0, 0], ignoreIndex };
    await refuses('score', [hidden, options], kind, 'ignoreIndex', 'an integer');
    await refuses('run', [hidden, options], kind, 'ignoreIndex');
  });

  it('are copied before an async call returns', async () => {
    const targets = Uint32Array.of(1, 2);
    const wanted = head.scoreSync(hidden, targets);
    const pending = head.score(hidden, targets);
    targets.fill(valid + 50);
    expect(await pending).toEqual(wanted);
    worksOn();
  });

  it('come with an entropy only where it is asked for', async () => {
    expect(head.scoreSync(hidden, [0, 0]).entropy).toBeUndefined();
    expect(head.scoreSync(hidden, [0, 0], { entropy: true }).entropy).toHaveLength(2);
    await refuses('run', [hidden, { entropy: true }], 'RANGE', 'entropy', 'without targets');
    await refuses('score', [hidden, { targets: [0, 0], entropy: 1 }], 'ARGUMENT', 'entropy', 'true or false');
  });
});
