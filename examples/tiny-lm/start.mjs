/**
 * npm start: a story by the small model, its check against the reference, native against plain JavaScript, and where onnxruntime-node is
 * installed, the model as an ONNX decoder.
 */
import { againstPureJs } from '../../bench/against-pure-js.mjs';
import { againstWhole, loadOnnxruntime } from '../onnxruntime/against-whole.mjs';
import { continueStory } from './continue-a-story.mjs';
import { verifyHead } from './verify.mjs';

const PROMPT = 'One summer there was a little rabbit named Lily.';

console.log(`1. A story, continued token by token: “${PROMPT}”\n`);
const story = await continueStory({ prompt: PROMPT });
console.log(`\n${story.text}\n`);
const another = await continueStory({ prompt: PROMPT, temperature: 0.8, tokens: 0 });
another.head.close();
console.log(`Another, drawn at temperature 0.8:\n\n${another.text}\n`);

console.log('2. Is it right?\n');
const right = await verifyHead(story);
story.head.close();
if (!right) process.exitCode = 1;

console.log('\n3. Is it fast?\n');
await againstPureJs(5);

const runtime = await loadOnnxruntime();
if (runtime) {
  console.log('\n4. As an ONNX decoder without its head, in onnxruntime\n');
  const { failed } = await againstWhole(runtime, [PROMPT]);
  if (failed > 0) process.exitCode = 1;
} else {
  console.log('\nWith onnxruntime-node installed, it runs as an ONNX decoder too: see docs/onnx-decoder.md');
}
