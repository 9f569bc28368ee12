/** Values of another realm than the library's (vm contexts, test runners, browser environments), and the library in another than Node's. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { createContext, runInContext, runInNewContext } from 'node:vm';
import { buildSync } from 'esbuild';
import { describe, expect, it } from 'vitest';
import {
  candidatesOf,
  LMHead,
  type LogitBias,
  type OpenOptions,
  rowsOf,
  type SampleOptions,
  sampleFrom,
  softmax,
} from '../../lib';
import { backends } from '../support/backends';
import { throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { D, makeHead, someHidden, someWeight, V } from '../support/heads';

const folder = temporaryFolder();
/** Evaluates in another realm; `here` is a value of this one. */
const foreign = (code: string, here?: unknown) => runInNewContext(`(${code})`, { here });
const foreignFloats = (numbers: Float32Array): Float32Array => foreign('Float32Array.from(here)', numbers);

describe.each(backends)('values of another realm, %s', backend => {
  const head = makeHead(backend);
  const hidden = someHidden();
  const left = (options: SampleOptions) => [...head.candidatesSync(hidden, options).ids];

  it('are no instances of what they are here', () => {
    expect(foreign('new Map()')).not.toBeInstanceOf(Map);
    expect(foreignFloats(hidden)).not.toBeInstanceOf(Float32Array);
  });

  it.each([
    ['a Map', 'new Map([[3, -Infinity], [4, 2]])', { 3: -Infinity, 4: 2 }],
    ['an object', '{ 3: -Infinity, 4: 2 }', { 3: -Infinity, 4: 2 }],
    [
      'an object without a prototype',
      'Object.assign(Object.create(null), { 3: -Infinity })',
      { 3: -Infinity },
    ],
    ['a class that extends Map', 'new (class extends Map { get size() { return 0; } })([[3, 9]])', { 3: 9 }],
    ['one per row', '[new Map([[3, -Infinity]]), { 4: 1 }]', [{ 3: -Infinity }, { 4: 1 }]],
    ['an empty Map', 'new Map()', {}],
  ] as [string, string, LogitBias][])('%s is a logitBias', (_, code, wanted) => {
    expect(left({ logitBias: foreign(code) })).toEqual(left({ logitBias: wanted }));
  });

  it.each([
    'new Set([3])',
    'new WeakMap()',
    'new Proxy(new Map([[3, -Infinity]]), {})',
    'new (class { #ids = [3]; })()',
    'new (class extends Set {})([[3, 1]])',
    'new Date(0)',
    'Promise.resolve({ 3: 1 })',
    '[[3, 1]].values()',
    '{ *[Symbol.iterator]() { yield [3, 1]; } }',
    'new Float64Array(13)',
    '[1, 2]',
    '() => 1',
    '"3: 1"',
    'new String("")',
    'null',
    'true',
  ])('%s is no logitBias, of whatever realm', code => {
    const here = runInThis(code);
    for (const logitBias of [foreign(code), here]) {
      throwsKind(() => left({ logitBias }), 'ARGUMENT', 'logitBias: got', 'want a plain object or a Map');
      throwsKind(() => left({ logitBias: [{}, logitBias] }), 'ARGUMENT', 'logitBias[1]: got');
      throwsKind(() => head.sampler({ logitBias }), 'ARGUMENT', 'logitBias: got');
      throwsKind(() => candidatesOf(new Float32Array(V), V, { logitBias }), 'ARGUMENT', 'logitBias: got');
    }
  });

  it.each(['[2, 5]', 'Uint32Array.of(2, 5)', 'BigInt64Array.of(2n, 5n)', '{ length: 2, 0: 2, 1: 5 }'])(
    '%s are ids',
    code => {
      const ids = foreign(code);
      expect(head.embed(ids)).toEqual(head.embed([2, 5]));
      expect(head.scoreSync(hidden, ids)).toEqual(head.scoreSync(hidden, [2, 5]));
      for (const name of ['bannedIds', 'allowedIds', 'rows'])
        expect(left({ [name]: ids })).toEqual(left({ [name]: [2, 5] }));
      for (const name of ['bannedIds', 'allowedIds', 'history'])
        expect(left({ [name]: foreign('[here, here]', ids) })).toEqual(left({ [name]: [2, 5] }));
    },
  );

  it('are masks, numbers per row, stages, weights, hidden states, logits and results', async () => {
    expect(left({ allowedMask: foreign('Int32Array.of(36)') })).toEqual(left({ allowedIds: [2, 5] }));
    expect(left({ allowedMask: foreign('[here, here]', Uint32Array.of(36)) })).toEqual(
      left({ allowedIds: [2, 5] }),
    );
    const options = foreign(
      '{ topK: [3, 4], topP: Float64Array.of(0.5, 0.9), stageOrder: ["topP", "topK"] }',
    );
    expect(left(options)).toEqual(left({ topK: [3, 4], topP: [0.5, 0.9], stageOrder: ['topP', 'topK'] }));
    const other = makeHead(backend, {}, foreignFloats(someWeight()));
    const states = foreignFloats(hidden);
    expect(other.logitsSync(states)).toEqual(head.logitsSync(hidden));
    expect(await other.logits(states)).toEqual(head.logitsSync(hidden));
    const tensor = foreign('{ type: "float32", dims: [1, 2, 7], data: here }', states);
    expect(head.logitsSync(tensor)).toEqual(head.logitsSync(hidden));
    const out = foreignFloats(new Float32Array(2 * V));
    expect(head.logitsSync(hidden, { out })).toBe(out);
    expect(await head.logits(hidden, { out })).toBe(out);
    expect([...out]).toEqual([...head.logitsSync(hidden)]);
    const norm = {
      type: 'rmsnorm',
      weight: foreignFloats(new Float32Array(D).fill(2)),
      eps: 1e-6,
    } as const;
    const bias = foreignFloats(new Float32Array(V).fill(1));
    const normed = makeHead(backend, { bias, norm }).logitsSync(states, { norm: true });
    const same = { ...norm, weight: new Float32Array(D).fill(2) };
    expect(normed).toEqual(
      makeHead(backend, { bias: new Float32Array(V).fill(1), norm: same }).logitsSync(hidden, { norm: true }),
    );
    const logits = head.logitsSync(hidden);
    expect(softmax(foreignFloats(logits), V)).toEqual(softmax(logits, V));
    expect(sampleFrom(foreignFloats(logits), V, { seed: 1 })).toEqual(sampleFrom(logits, V, { seed: 1 }));
    const top = head.topKSync(hidden, 2);
    const told = foreign('JSON.parse(here)', JSON.stringify({ n: 2, k: 2 }));
    const { ids, logits: best, logProbs } = top;
    expect(rowsOf({ ...told, ids: foreign('Uint32Array.from(here)', ids), logits: best, logProbs })).toEqual(
      rowsOf(top),
    );
    const shared = foreign('new Float32Array(new SharedArrayBuffer(4 * here))', V * D);
    shared.set(someWeight());
    expect(makeHead(backend, { copy: false }, shared).logitsSync(hidden)).toEqual(head.logitsSync(hidden));
    const state = foreign('JSON.parse(here)', JSON.stringify(head.sampler({ seed: 5 })));
    head.sampler().restore(state);
    expect(LMHead.attach(foreign('Object.assign({}, here)', head.handle)).argmaxSync(hidden)).toEqual(
      head.argmaxSync(hidden),
    );
  });

  it('are signals and URLs, by what they do', async () => {
    const signal = foreign('{ aborted: true, reason: 5, addEventListener() {}, removeEventListener() {} }');
    await expect(head.sample(hidden, { signal })).rejects.toMatchObject({ code: 'ERR_LMHEAD_ABORTED' });
    const path = folder.path('head.safetensors');
    const { href, protocol } = pathToFileURL(path);
    head.saveSync(foreign('{ href: here.href, protocol: here.protocol }', { href, protocol }));
    for (const url of [foreign('{ ...here }', { href, protocol }), pathToFileURL(path)]) {
      expect(LMHead.openSync(url, { backend }).vocabSize).toBe(V);
      expect((await LMHead.open(url, { backend })).vocabSize).toBe(V);
    }
    for (const no of ['{ href: "x" }', '{ href: 5, protocol: "file:" }', '[here]', 'new Date(0)'])
      throwsKind(() => LMHead.openSync(foreign(no, path)), 'ARGUMENT', 'path: got', 'a path or a file: URL');
    const web = { href: 'https://example.org/x', protocol: 'https:' } as URL;
    throwsKind(() => LMHead.openSync(web), 'ARGUMENT', 'path: got https://example.org/x');
  });
});

/** As `foreign`, here. */
function runInThis(code: string): never {
  return new Function(`return (${code})`)() as never;
}

describe('the library in another realm than Node', () => {
  const root = resolve(__dirname, '../..');
  const load = (): typeof import('../../lib') => {
    const [{ text }] = buildSync({
      entryPoints: [join(root, 'lib/index.ts')],
      bundle: true,
      platform: 'node',
      format: 'cjs',
      write: false,
    }).outputFiles;
    // What such a realm gets of Node's; its classes are its own.
    const context = createContext({ process, Buffer, URL, AbortSignal, structuredClone, SharedArrayBuffer });
    const run = runInContext(`(function (module, require, __dirname) { ${text} \n})`, context);
    const made = { exports: {} };
    run(made, createRequire(join(root, 'lib/index.ts')), join(root, 'lib/backend'));
    return made.exports as typeof import('../../lib');
  };
  const lib = load();
  const open = (path: string, options: OpenOptions = {}) => lib.LMHead.openSync(path, options);

  it('computes the same', async () => {
    for (const backend of backends) {
      const head = lib.LMHead.from(someWeight(), { vocabSize: V, hiddenSize: D, backend });
      const wanted = makeHead(backend);
      const options = { seed: 1, topP: 0.9, logitBias: new Map([[3, -Infinity]]), bannedIds: [4] };
      expect([...head.sampleSync(someHidden(), options).ids]).toEqual([
        ...wanted.sampleSync(someHidden(), options).ids,
      ]);
      const { ids } = await head.candidates(someHidden(), options);
      expect([...ids]).toEqual([...wanted.candidatesSync(someHidden(), options).ids]);
      head.close();
    }
  });

  it('throws its own errors, for what the system says too', async () => {
    const { LMHeadError } = lib;
    const wrong = folder.file(
      'wrong/model.safetensors',
      readFileSync(join(root, 'assets/tiny-lm.safetensors')),
    );
    folder.file('wrong/config.json', '{ "model_type": ');
    const tooLong = folder.path('x'.repeat(300));
    for (const call of [
      () => open(folder.path('nothing.safetensors')),
      () => open(tooLong),
      () => open(`${folder.path()}/\0`),
      () => open(wrong),
      () => lib.LMHead.from(new Float32Array(1), { vocabSize: V, hiddenSize: D }),
    ])
      expect(call).toThrow(LMHeadError);
    await expect(lib.LMHead.open(tooLong)).rejects.toMatchObject({
      code: 'ERR_LMHEAD_IO',
      message: expect.stringMatching(/ENAMETOOLONG/),
    });
  });
});
