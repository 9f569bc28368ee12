/** The server of examples/http-server over the stand-in model: node bench/server/serve.mjs head | strict | onnxruntime. Prints its URL. */
import { startServer } from '../../examples/http-server/server.mjs';
import { byHead, byOnnxruntime } from './stand-in.mjs';

const [kind] = process.argv.slice(2);
const model = kind === 'onnxruntime' ? await byOnnxruntime() : byHead(kind !== 'strict');
const { url } = await startServer(0, model);
console.log(url);
