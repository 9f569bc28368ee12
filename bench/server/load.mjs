/**
 * `npm run bench -- --server`: examples/http-server under load. So many streams at once, each of which asks for a text again when one has
 * ended; what is measured is what a client sees, from the event of a token to the next one's.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { INSTALL } from '../peers/index.mjs';
import { require } from '../peers/installed.mjs';
import { duration, median, table } from '../timing.mjs';
import { SHAPE } from './stand-in.mjs';

const STREAMS = [1, 4, 16, 64];
const SERVERS = [
  { kind: 'head', name: 'lmhead, f32' },
  { kind: 'strict', name: 'lmhead, coalesce: false' },
  { kind: 'onnxruntime', name: 'onnxruntime, whole graph' },
];

/**
 * @param {{isa: string, threads: number, cpu: string, node: string}} machine
 * @param {number} seconds of each load
 */
export async function printServer({ cpu, isa, threads, node }, seconds) {
  console.log(`${cpu}, ${isa}, ${threads} threads, Node.js ${node.slice(1)}.`);
  console.log(
    `${SHAPE.vocabSize} × ${SHAPE.hiddenSize}; the client is on the same machine; top-k 40, top-p 0.95 at temperature 0.8.\n`,
  );
  const rows = [];
  for (const { kind, name } of SERVERS.filter(({ kind }) => kind !== 'onnxruntime' || hasOnnxruntime())) {
    const server = spawn(process.execPath, [fileURLToPath(new URL('serve.mjs', import.meta.url)), kind], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [url] = await once(server.stdout, 'data');
    for (const streams of STREAMS) {
      const { rate, times } = await load(`${String(url).trim()}/story`, streams, seconds);
      const sorted = times.toSorted((a, b) => a - b);
      const p99 = sorted[Math.floor(0.99 * (sorted.length - 1))];
      rows.push([name, String(streams), rate.toFixed(1), duration(median(times)), duration(p99)]);
    }
    server.kill();
    await once(server, 'exit');
  }
  table(['server', 'streams', 'tokens a second', 'p50 of a token', 'p99'], rows);
}

function hasOnnxruntime() {
  try {
    require('onnxruntime-node');
    return true;
  } catch {
    console.log(`onnxruntime-node does not take part: it is not installed (${INSTALL})\n`);
    return false;
  }
}

/** Tokens of all streams, once each has had one, and the seconds between those of one stream. */
async function load(url, streams, seconds) {
  const stop = new AbortController();
  const times = [];
  let started = 0;
  let begin = 0;
  let tokens = 0;
  const stream = async i => {
    let last;
    for (let text = 0; !stop.signal.aborted; text++) {
      const response = await fetch(`${url}?prompt=Once&seed=${i + streams * text}`, { signal: stop.signal });
      for await (const chunk of response.body) {
        const now = performance.now() / 1000;
        const count = String(Buffer.from(chunk)).split('data: {"id"').length - 1;
        if (count === 0) continue;
        if (last === undefined) {
          if (++started === streams) {
            begin = now;
            setTimeout(() => stop.abort(), seconds * 1000);
          }
        } else if (begin > 0) {
          tokens += count;
          times.push(now - last);
        }
        last = now;
      }
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: streams }, (_, i) => stream(i)));
  const failed = ended.find(({ reason }) => reason && !stop.signal.aborted);
  if (failed) throw failed.reason;
  return { rate: tokens / (performance.now() / 1000 - begin), times };
}
