/** A thread that writes the memory which some arguments lie in, all the time. */
import { workerData } from 'node:worker_threads';
import { random } from '../random.mjs';

const words = new Uint32Array(workerData);
const pause = new Int32Array(new SharedArrayBuffer(4));
const values = [0, 1, 2 ** 31, 0x7f800000, 0x3f800000, 0xffffffff, 69, 70];
const { below } = random(0);
for (;;) {
  for (let i = 0; i < 2000; i++) words[below(words.length)] = values[below(values.length)];
  Atomics.wait(pause, 0, 0, 1);
}
