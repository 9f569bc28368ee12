/** What V8 is told of a head's weights: by how many bytes the memory that it knows of grows. One line of JSON. Needs --expose-gc. */
import { LMHead } from '../../dist/index.mjs';
import { settled } from './growth.mjs';

const [vocabSize, hiddenSize] = [65536, 32];
const weight = new Float32Array(vocabSize * hiddenSize);
LMHead.from(weight, { vocabSize, hiddenSize, backend: 'native' }).close(); // everything is loaded
const before = (await settled()).external;
const grown = async () => (await settled()).external - before;

const head = LMHead.from(weight, { vocabSize, hiddenSize, backend: 'native' });
const loaded = await grown();
const attached = [1, 2, 3].map(() => LMHead.attach(structuredClone(head.handle)));
const shared = await grown();
head.close();
head.close();
const closed = await grown();
for (const one of attached) one.close();
console.log(JSON.stringify({ bytes: weight.byteLength, loaded, shared, closed, allClosed: await grown() }));
