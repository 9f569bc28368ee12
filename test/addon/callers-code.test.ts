/** Code of the caller's that runs while the addon reads its arguments: getters on Object.prototype see every property that is not there. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nativeUnavailable } from '../../lib/backend/addon';
import { PREAMBLE, packageFolder, runNode } from '../support/processes';

/** Properties that the addon asks for, and that few calls have. */
const ABSENT = JSON.stringify(['ranges', 'ids', 'values', 'allowed', 'token', 'path', 'mmap', 'topLogProbs']);

const BEGIN = `${PREAMBLE}
const V = 4096, d = 16;
const weight = new Float32Array(V * d).map((_, i) => Math.sin(i));
const make = () => LMHead.from(weight, { vocabSize: V, hiddenSize: d, backend: 'native' });
const mask = new Uint32Array(V / 32).fill(0xffffffff);
const control = make();
const h = new Float32Array(d).fill(1);
const expected = JSON.stringify(control.topKSync(h, 3));
const calls = {
  masked: (head, hidden) => head.sampleSync(hidden, { seed: 1, allowedMask: mask }),
  'masked and banned': (head, hidden) => head.sample(hidden, { seed: 1, allowedMask: mask, bannedIds: [1] }),
  biased: (head, hidden) => head.sampleSync(hidden, { seed: 1, logitBias: { 1: 2 } }),
  told: (head, hidden) => head.sample(hidden, { seed: 1, topLogProbs: 2, bannedIds: [1] }),
  candidates: (head, hidden) => head.candidatesSync(hidden, { topK: 3, bannedIds: [2] }),
  rows: (head, hidden) => head.topK(hidden, 2, { rows: [1, 2, 3] }),
  made: () => make().close(),
};
/** Calls with a getter in the way, for as long as the call has not returned; what came of it, or of its promise. */
async function during(name, get, call) {
  Object.defineProperty(Object.prototype, name, {
    configurable: true,
    get,
    set(value) { Object.defineProperty(this, name, { value, writable: true, enumerable: true, configurable: true }); },
  });
  let promise;
  try {
    promise = call();
  } catch (error) {
    return { error };
  } finally {
    delete Object.prototype[name];
  }
  try {
    await promise;
    return {};
  } catch (error) {
    return { error };
  } finally {
    if (JSON.stringify(control.topKSync(h, 3)) !== expected) console.log('another result');
  }
}
/** Every call, with every property that act() is done at, once. */
async function each(makeAct) {
  for (const name of ${ABSENT})
    for (const call of Object.values(calls)) {
      const { act, head, hidden } = makeAct();
      let armed = true;
      const get = function () { if (armed) { armed = false; act(this); } };
      const { error } = await during(name, get, () => call(head, hidden));
      console.log(!error ? 'result' : error instanceof LMHeadError ? error.code : error.stack);
    }
}
`;

/** What the code prints, each line once. */
function lines(code: string): string[] {
  const { status, signal, stdout, stderr } = runNode(`${BEGIN}(async () => {${code}})();`, {
    flags: ['--expose-gc'],
  });
  expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' });
  return [...new Set(stdout.trim().split('\n'))].sort();
}

describe.skipIf(nativeUnavailable())('a getter in the way of the addon', () => {
  it('may close the head: an error, or a result', () => {
    const seen = lines(`await each(() => {
      const head = make();
      return { head, hidden: h, act: () => { head.close(); global.gc(); } };
    });`);
    expect(seen).toEqual(['ERR_LMHEAD_CLOSED', 'result']);
  });

  it('may detach the hidden states: an error, or a result', () => {
    const seen = lines(`await each(() => {
      const hidden = new Float32Array(64 * d).fill(1);
      const act = () => { structuredClone(hidden.buffer, { transfer: [hidden.buffer] }); global.gc(); };
      return { head: control, hidden, act };
    });`);
    expect(seen).toEqual(['ERR_LMHEAD_SHAPE', 'result']);
  });

  it('may detach whatever it is a property of: an error, or a result', () => {
    const seen = lines(`await each(() => ({ head: control, hidden: h, act(object) {
      for (const { value } of Object.values(Object.getOwnPropertyDescriptors(object)))
        if (ArrayBuffer.isView(value) && ![weight, mask, h].includes(value))
          structuredClone(value.buffer, { transfer: [value.buffer] });
      global.gc();
    } }));`);
    for (const line of seen) expect(line).toMatch(/^(result|ERR_LMHEAD_\w+)$/);
  });

  it('may throw: that error comes out, unchanged and unasked', () => {
    const seen = lines(`
      const errors = [
        new Error('mine'),
        Object.assign(new Error('mine'), { code: 'ERR_LMHEAD_CLOSED' }),
        { get code() { console.log('asked'); return 'ERR_LMHEAD_IO'; } },
        new Proxy({}, { get() { console.log('asked'); throw 1; }, has: () => true }),
        'text', 5, null,
      ];
      for (const name of ['ranges', 'token', 'path'])
        for (const thrown of errors)
          for (const call of Object.values(calls)) {
            let called = false;
            const outcome = await during(name, () => { called = true; throw thrown; }, () => call(control, h));
            if (called) console.log(outcome.error === thrown);
          }`);
    expect(seen).toEqual(['true']);
  });
});

describe.skipIf(nativeUnavailable() || process.platform !== 'linux')(
  'candidates that do not fit into memory',
  () => {
    const [n, vocabSize] = [40, 500_000];
    const code = `
    const { candidatesOf, LMHeadError, sampleFrom } = require(process.env.LMHEAD_ENTRY);
    const few = new Float32Array(100);
    candidatesOf(few, 100, {});
    const status = require('node:fs').readFileSync('/proc/self/status', 'utf8');
    if (process.argv[1] === 'size') { console.log(/VmSize:\\s+(\\d+)/.exec(status)[1]); process.exit(); }
    const logits = new Float32Array(${n * vocabSize});
    try { console.log(candidatesOf(logits, ${vocabSize}, {}).ids.length); }
    catch (error) { console.log(error instanceof LMHeadError && error.code, error.message); }
    console.log(sampleFrom(few, 100, { seed: 1 }).ids.length);`;
    const env = { ...process.env, LMHEAD_ENTRY: join(packageFolder, 'dist/index.js'), LMHEAD_THREADS: '1' };

    it('give an error, and the process lives', () => {
      const idle = spawnSync(process.execPath, ['-e', code, 'size'], { env, encoding: 'utf8' });
      // Beside the logits there is room for the addon's own lists, and for half of one of the arrays that they go to.
      const kilobytes = Number(idle.stdout) + Math.ceil((3.6 * n * vocabSize * 4) / 1024);
      const limited = `ulimit -v ${kilobytes} && exec "$0" -e "$1" limited`;
      const ended = spawnSync('sh', ['-c', limited, process.execPath, code], { env, encoding: 'utf8' });
      expect({ status: ended.status, signal: ended.signal }).toEqual({ status: 0, signal: null });
      expect(ended.stdout.trim().split('\n')).toEqual([expect.stringMatching(/^ERR_LMHEAD_MEMORY /), '1']);
    });
  },
);
