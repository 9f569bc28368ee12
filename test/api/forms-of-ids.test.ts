/** Every option and argument that takes ids takes them in every form that ids have. */
import { describe, expect, it } from 'vitest';
import { candidatesOf, type Ids, type LMHead, type SampleOptions, sampleFrom } from '../../lib';
import { backends } from '../support/backends';
import { throwsKind } from '../support/errors';
import { makeHead, someHidden, V } from '../support/heads';

const big = (ids: number[]) => BigInt64Array.from(ids.map(BigInt));
const tensor = (type: string | undefined, data: unknown, dims: unknown) => ({ type, data, dims }) as Ids;
const forms: Record<string, (ids: number[]) => Ids> = {
  Uint32Array: ids => Uint32Array.from(ids),
  Int32Array: ids => Int32Array.from(ids),
  Uint8Array: ids => Uint8Array.from(ids),
  BigInt64Array: big,
  BigUint64Array: ids => BigUint64Array.from(ids.map(BigInt)),
  'an array-like': ids => ({ ...ids, length: ids.length }),
  'int64 tensor': ids => tensor('int64', big(ids), [1, ids.length]),
  'int32 tensor': ids => tensor('int32', Int32Array.from(ids), [ids.length]),
  'uint32 tensor': ids => tensor('uint32', Uint32Array.from(ids), [1, 1, ids.length]),
  'uint64 tensor': ids => tensor('uint64', BigUint64Array.from(ids.map(BigInt)), [ids.length]),
  'tensor without a type': ids => tensor(undefined, big(ids), Uint32Array.of(1, ids.length)),
};

/** What a head says of ids, one result for each place that takes them. */
const places: Record<string, (head: LMHead, ids: Ids) => unknown> = {
  embed: (head, ids) => head.embed(ids),
  targets: (head, ids) => head.scoreSync(someHidden(4), ids),
  'targets of run': (head, ids) => head.runSync(someHidden(4), { targets: ids }).score,
  rows: (head, ids) => head.logitsSync(someHidden(), { rows: ids }),
  'rows of nearest': (head, ids) => head.nearestSync(1, 3, { rows: ids }),
  draftIds: (head, ids) => head.verifyDraftSync(someHidden(4), ids, { seed: 1 }),
  bannedIds: (head, ids) => head.candidatesSync(someHidden(), { bannedIds: ids }),
  allowedIds: (head, ids) => head.candidatesSync(someHidden(), { allowedIds: ids }),
  eosIds: (head, ids) => head.candidatesSync(someHidden(), { eosIds: ids, minLength: 3, length: 0 }),
  history: (head, ids) => head.candidatesSync(someHidden(), { history: ids, presencePenalty: 2 }),
  'history of a sampler': (head, ids) =>
    head.sampler({ history: ids, noRepeatNgramSize: 1, seed: 2 }).nextSync(someHidden(1)),
  'bannedIds of a sampler': (head, ids) => head.sampler({ bannedIds: ids, seed: 2 }).nextSync(someHidden(1)),
  'allowedIds of next': (head, ids) => head.sampler({ seed: 2 }).nextSync(someHidden(1), { allowedIds: ids }),
  'bannedIds of given logits': (_, ids) => candidatesOf(new Float32Array(V), V, { bannedIds: ids }),
  'history of given logits': (_, ids) =>
    sampleFrom(new Float32Array(V), V, { history: ids, frequencyPenalty: 9, seed: 1 }),
};

describe.each(backends)('ids, %s', backend => {
  const head = makeHead(backend);
  const ids = [9, 2, 5, 11];

  it.each(Object.keys(places))('of %s come in every form', place => {
    const wanted = places[place](head, ids);
    for (const [form, make] of Object.entries(forms))
      expect(places[place](head, make(ids)), form).toEqual(wanted);
  });

  it.each(Object.keys(places))('of %s are refused where a tensor is not of ids', place => {
    const data = big(ids);
    for (const [kind, bad, ...words] of [
      ['DTYPE', tensor('float32', Float32Array.from(ids), [4]), '.type: got "float32"; want \'int64\''],
      ['DTYPE', tensor('int32', data, [4]), '.data: got a BigInt64Array; want Int32Array, as'],
      ['DTYPE', tensor(undefined, Float32Array.from(ids), [4]), '.data: got a Float32Array'],
      ['DTYPE', tensor('constructor', data, [4]), '.type: got "constructor"'],
      ['ARGUMENT', tensor('int64', ids, [4]), '.data: got an array'],
      ['ARGUMENT', tensor(7 as never, data, [4]), '.type: got 7'],
      ['ARGUMENT', tensor('int64', data, 4), '.dims: got 4; want an array'],
      ['ARGUMENT', tensor(undefined, 4, [4]), '.data: got 4; want ids in a BigInt64Array'],
      ['SHAPE', tensor('int64', data, [5]), '.dims: got [5]; want the dimensions of 4 ids'],
      ['SHAPE', tensor('int64', data, [-2, -2]), '.dims: got [-2, -2]'],
      ['SHAPE', tensor('int64', data, ['4']), '.dims: got ["4"]'],
      ['SHAPE', tensor('int64', data, new Array(1e8)), '.dims: got [undefined, ', ', …]'],
      ['SHAPE', tensor('int64', data, [4, ...new Array(9).fill(1)]), '.dims'],
    ] as const) {
      throwsKind(() => places[place](head, bad), kind, ...words);
    }
    const onGpu = {
      type: 'int64',
      dims: [4],
      get data() {
        throw new Error('the data is on a GPU');
      },
    };
    throwsKind(() => places[place](head, onGpu as never), 'ARGUMENT', 'data cannot be read');
    const gone = big(ids);
    structuredClone(gone.buffer, { transfer: [gone.buffer] });
    throwsKind(() => places[place](head, tensor('int64', gone, [0])), 'SHAPE', 'detached');
  });

  it('of a tensor [n, length] are a list for each row', () => {
    const hidden = someHidden(2);
    const lists = [
      [1, 2, 3],
      [4, 5, 4],
    ];
    const all = tensor('int64', big(lists.flat()), [2, 3]);
    for (const make of [
      (given: never): SampleOptions => ({ bannedIds: given }),
      (given: never): SampleOptions => ({ allowedIds: given }),
      (given: never): SampleOptions => ({ history: given, frequencyPenalty: 2 }),
    ]) {
      const wanted = head.candidatesSync(hidden, make(lists as never));
      expect(head.candidatesSync(hidden, make(all as never))).toEqual(wanted);
      const columns = tensor('int32', Int32Array.of(1, 4), [2, 1]);
      expect(head.candidatesSync(hidden, make(columns as never))).toEqual(
        head.candidatesSync(hidden, make([[1], [4]] as never)),
      );
      throwsKind(() => head.candidatesSync(someHidden(3), make(all as never)), 'SHAPE', 'got 2 lists');
      throwsKind(() => head.candidatesSync(someHidden(1), make(all as never)), 'SHAPE', 'got 2 lists');
      throwsKind(
        () => head.candidatesSync(hidden, make(tensor('int32', new Int32Array(0), [1e9, 0]) as never)),
        'SHAPE',
        'got 1000000000 lists',
      );
      const bad = tensor('int32', Int32Array.of(1, 2, 3, V), [2, 2]);
      throwsKind(() => head.candidatesSync(hidden, make(bad as never)), 'RANGE', '[1][1]: got 13');
    }
    throwsKind(() => head.sampler({ history: all }), 'SHAPE', 'history: got 2 lists');
    expect(head.embed(all)).toEqual(head.embed(lists.flat()));
  });

  it('of a tensor are its data alone, whatever else it says', () => {
    const odd = Object.defineProperty(big(ids), 'length', { value: 1 });
    expect(head.embed(tensor('int64', odd, [4]))).toEqual(head.embed(ids));
    class Renamed extends BigInt64Array {
      static get [Symbol.species](): never {
        throw new Error('asked for');
      }
    }
    const data = Renamed.from([1n, 2n, 3n, 4n]);
    expect(head.candidatesSync(someHidden(), { bannedIds: tensor('int64', data, [2, 2]) as Ids })).toEqual(
      head.candidatesSync(someHidden(), {
        bannedIds: [
          [1, 2],
          [3, 4],
        ],
      }),
    );
  });

  it('ignored in a tensor of targets count in nothing', () => {
    const targets = tensor('int64', BigInt64Array.of(-100n, 3n), [1, 2]);
    const { count } = head.scoreSync(someHidden(), targets, { ignoreIndex: -100 });
    expect(count).toBe(1);
    expect(head.embed(tensor('int32', new Int32Array(0), [1, 0]))).toHaveLength(0);
  });
});
