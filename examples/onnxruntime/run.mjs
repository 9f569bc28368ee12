/** The small decoder's texts, by its body and a head, and whole. The last line is `N passed, M failed`, one for each continuation. */
import { againstWhole, loadOnnxruntime } from './against-whole.mjs';

const PROMPTS = ['One summer there was a little rabbit named Lily.', 'One day', 'The'];

const runtime = await loadOnnxruntime();
if (!runtime) {
  console.error('onnxruntime-node is not installed');
  console.error(
    'To install it: npm install --ignore-scripts --no-package-lock --prefix examples/onnxruntime',
  );
  process.exit(1);
}
const { passed, failed } = await againstWhole(runtime, PROMPTS);
console.log(`${passed} passed, ${failed} failed`);
if (failed > 0) process.exitCode = 1;
