/** Worker threads that load and share weights; each case in a process of its own, which must end well. */
import { describe, expect, it } from 'vitest';
import { backends } from '../support/backends';
import { endedWell, runWorkers } from '../support/workers';

describe.each(backends)('worker threads, %s', backend => {
  it('eight load at once and compute the same', () => {
    const ended = runWorkers(`
      const body = ({ backend, weight, hidden }) => {
        const head = LMHead.from(weight, { vocabSize: 500, hiddenSize: 33, backend });
        return head.logits(hidden).then(logits => ({ logits, sync: head.logitsSync(hidden), isa: capabilities().isa }));
      };
      const data = { backend: '${backend}', weight: numbers(500 * 33), hidden: numbers(4 * 33, 5) };
      const results = await Promise.all(Array.from({ length: 8 }, () => result(start(body, data))));
      const same = (a, b) => Buffer.compare(Buffer.from(a.buffer), Buffer.from(b.buffer)) === 0;
      const { logits, isa } = results[0];
      console.log(results.every(r => same(r.logits, logits) && same(r.sync, logits) && r.isa === isa), logits.length);
    `);
    expect(endedWell(ended)).toBe('true 2000');
  });

  const [V, d] = [65536, 512];
  const megabytes = (V * d * 4) / 2 ** 20;

  /** Programs that leave a head over V·d numbers, all 0.5 but one, in `head`. */
  const loading = {
    'in memory': 'const head = LMHead.from(weight(new ArrayBuffer(V * d * 4)), options);',
    'in a SharedArrayBuffer': `
      const head = LMHead.from(weight(new SharedArrayBuffer(V * d * 4)), { ...options, copy: false });`,
    'in a file': `
      const { mkdtempSync, writeFileSync, rmSync } = require('node:fs');
      const folder = mkdtempSync(require('node:os').tmpdir() + '/lmhead-workers-');
      process.on('exit', () => rmSync(folder, { recursive: true }));
      const header = JSON.stringify({ 'lm_head.weight': { dtype: 'F32', shape: [V, d], data_offsets: [0, V * d * 4] } });
      const size = Buffer.alloc(8);
      size.writeBigUInt64LE(BigInt(header.length));
      const bytes = new Uint8Array(weight(new ArrayBuffer(V * d * 4)).buffer);
      writeFileSync(folder + '/a.safetensors', Buffer.concat([size, Buffer.from(header), bytes]));
      const head = LMHead.openSync(folder + '/a.safetensors', { backend: '${backend}' });`,
  };

  it.each(Object.entries(loading))(
    'share one copy of weights %s, which outlives the head that loaded them',
    (_, load) => {
      const ended = runWorkers(
        `
      const [V, d] = [${V}, ${d}];
      const options = { vocabSize: V, hiddenSize: d, backend: '${backend}' };
      const weight = buffer => {
        const list = new Float32Array(buffer).fill(0.5);
        list[7 * d] = 2;
        return list;
      };
      ${load}
      const hidden = new Float32Array(d).fill(0.25);
      head.argmaxSync(hidden); // now every page has been touched
      const body = ({ handle, hidden }) => {
        const head = LMHead.attach(handle);
        parentPort.on('message', () => parentPort.postMessage(head.argmaxSync(hidden)[0]));
        return head.argmaxSync(hidden)[0];
      };
      gc();
      const before = megabytes();
      const workers = Array.from({ length: 4 }, () => start(body, { handle: head.handle, hidden }));
      const first = await Promise.all(workers.map(result));
      const grown = megabytes() - before;
      head.close();
      gc();
      for (const worker of workers) worker.postMessage('again');
      const second = await Promise.all(workers.map(result));
      console.log(JSON.stringify({ grown, ids: [...first, ...second] }));
      await Promise.all(workers.map(worker => worker.terminate()));
    `,
        { flags: ['--expose-gc'] },
      );
      const { grown, ids } = JSON.parse(endedWell(ended));
      expect(ids).toEqual(Array(8).fill(7));
      // Four threads' own JavaScript takes some; a second copy of the weights alone would take more.
      expect(grown).toBeLessThan(0.8 * megabytes);
    },
  );
});

describe.skipIf(!backends.includes('native'))('weights that threads share', () => {
  it('are let go when the last head over them is closed, wherever that is', () => {
    const ended = runWorkers(
      `
      const [V, d] = [65536, 512];
      let head = LMHead.from(numbers(V * d), { vocabSize: V, hiddenSize: d, backend: 'native' });
      const body = handle => {
        const head = LMHead.attach(handle);
        parentPort.once('message', () => (head.close(), parentPort.postMessage('closed'), parentPort.unref()));
        return head.argmaxSync(new Float32Array(512).fill(1))[0];
      };
      const worker = start(body, head.handle);
      await result(worker);
      const { handle } = head;
      head.close();
      head = undefined;
      gc();
      const held = megabytes();
      const attached = LMHead.attach(handle);
      attached.close();
      const exited = once(worker, 'exit');
      worker.postMessage('close');
      await result(worker);
      await exited;
      const freed = held - megabytes();
      let code;
      try {
        LMHead.attach(handle);
      } catch (error) {
        ({ code } = error);
      }
      console.log(JSON.stringify({ freed, code }));
    `,
      { flags: ['--expose-gc'] },
    );
    const { freed, code } = JSON.parse(endedWell(ended));
    expect(code).toBe('ERR_LMHEAD_CLOSED');
    expect(freed).toBeGreaterThan(100);
  });

  it('are let go with a worker that is terminated', () => {
    const ended = runWorkers(`
      const body = () => {
        const head = LMHead.from(new Float32Array(2 ** 25), { vocabSize: 65536, hiddenSize: 512, backend: 'native' });
        return head.handle;
      };
      const before = megabytes();
      for (let i = 0; i < 8; i++) {
        const worker = start(body);
        const handle = await result(worker);
        await worker.terminate();
        try {
          LMHead.attach(handle);
          console.log('attached to nothing');
        } catch ({ code }) {
          if (code !== 'ERR_LMHEAD_CLOSED') console.log(code);
        }
      }
      console.log(megabytes() - before < 256);
    `);
    expect(endedWell(ended)).toBe('true'); // 8 times 128 MB, were they kept
  });
});
