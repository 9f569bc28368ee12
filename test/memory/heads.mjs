/**
 * Opens and closes heads many times, of every kind; prints by how many bytes the process has grown and what V8 counts as
 * external memory: one line of JSON per kind. Arguments: times, backend, a .safetensors file. Needs --expose-gc.
 */
import { LMHead } from '../../dist/index.mjs';
import { growth } from './growth.mjs';

const [times, backend, file] = [Number(process.argv[2]), process.argv[3], process.argv[4]];
const [vocabSize, hiddenSize] = [4096, 16];
const weight = new Float32Array(vocabSize * hiddenSize).fill(0.5);
const borrowed = new Float32Array(new SharedArrayBuffer(weight.byteLength));
const options = { vocabSize, hiddenSize, backend };
const first = LMHead.from(weight, options);

const KINDS = {
  'from memory': () => LMHead.from(weight, options),
  'from memory, left to the collector': () => LMHead.from(weight, options),
  borrowed: () => LMHead.from(borrowed, { ...options, copy: false }),
  'with a bounded copy': () => LMHead.from(weight, { ...options, screen: true }),
  transposed: () => LMHead.from(weight, { ...options, layout: 'dv' }),
  'from a file, mapped': () => LMHead.openSync(file, { backend }),
  'from a file, read': () => LMHead.open(file, { backend, mmap: false }),
  attached: () => LMHead.attach(first.handle),
  'attached by a clone, to one of its own': () => {
    const own = LMHead.from(weight, options);
    const attached = LMHead.attach(structuredClone(own.handle));
    own.close();
    return attached;
  },
};

for (const [kind, open] of Object.entries(KINDS)) {
  const repeat = async count => {
    for (let i = 0; i < count; i++) {
      const head = await open();
      const hidden = new Float32Array(head.hiddenSize);
      head.argmaxSync(hidden);
      if (i % 10 === 0) await head.argmax(hidden);
      if (!kind.endsWith('left to the collector')) head.close();
      else if (i % 20 === 0) await new Promise(resolve => setImmediate(resolve));
    }
  };
  await repeat(200);
  console.log(JSON.stringify({ kind, ...(await growth(() => repeat(times))) }));
}
