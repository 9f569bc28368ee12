/** ONNX models as large as they may be: they are opened and cut in memory that is bounded. */
import { spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, statSync, writeSync } from 'node:fs';
import { afterEach, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { D, decoder, V, WEIGHT } from '../onnx/decoder-graph';
import { bytesOf } from '../support/bytes';
import { temporaryFolder } from '../support/folders';
import { someNumbers } from '../support/numbers';
import { bytes, Graph, int, message, start, TYPES } from '../support/onnx';
import { packageFolder } from '../support/processes';

const folder = temporaryFolder();
/** A message of Protocol Buffers is shorter. */
const LONGEST = 2 ** 31 - 1;

let heads: LMHead[] = [];
afterEach(() => {
  for (const head of heads) head.close();
  heads = [];
});

/** A model of nearly 2 GB in one file, most of it a hole: a layer's weights, behind which comes the head's. */
function writeInline(path: string): number {
  const graph = new Graph();
  graph.input('x', 'f32', ['n', D]);
  const rows = Math.floor((LONGEST - 200_000) / (4 * D));
  const sum = graph.node('ReduceSum', ['layer', graph.ints(0)], { keepdims: 0 });
  const hidden = graph.node('Add', ['x', sum]);
  const weight = graph.node('Transpose', [graph.tensor('W', 'f32', [V, D], WEIGHT)]);
  graph.node('MatMul', [hidden, weight], { outputs: ['logits'] });
  graph.output('logits', 'f32', ['n', V]);
  const hole = 4 * D * rows;
  const facts = message(int(1, rows), int(1, D), int(2, TYPES.f32), bytes(8, 'layer'), start(9, hole));
  const before = message(start(5, facts.length + hole), facts);
  const rest = graph.bytes();
  const opset = bytes(8, message(bytes(1, ''), int(2, 21)));
  const head = message(int(1, 10), opset, start(7, before.length + hole + rest.length), before);
  const file = openSync(path, 'w');
  writeSync(file, head);
  writeSync(file, rest, 0, rest.length, head.length + hole);
  closeSync(file);
  return hole;
}

it('a model of 2 GB in one file is opened and cut in 250 MB', () => {
  const model = folder.path('model.onnx');
  const body = folder.path('body.onnx');
  const hole = writeInline(model);
  const size = statSync(model).size;
  expect(size).toBeGreaterThan(0.999 * LONGEST);
  expect(size).toBeLessThan(LONGEST);
  const code = `
    const { LMHead } = require(process.argv[1] + '/index.js');
    const { cutHead } = require(process.argv[1] + '/onnx/index.js');
    const [, , model, output] = process.argv;
    const head = LMHead.openSync(model);
    const ids = [...head.argmaxSync(new Float32Array(${D}).fill(1))];
    head.close();
    cutHead(model, { output }).then(({ pattern }) => {
      console.log(JSON.stringify({ pattern, ids, most: process.resourceUsage().maxRSS }));
    });`;
  const run = spawnSync(process.execPath, ['-e', code, `${packageFolder}/dist`, model, body], {
    encoding: 'utf8',
  });
  expect(run.stderr).toBe('');
  const { pattern, ids, most } = JSON.parse(run.stdout);
  expect(pattern).toBe('MatMul');
  heads = [LMHead.from(WEIGHT.slice(), { vocabSize: V, hiddenSize: D })];
  expect(ids).toEqual([...heads[0].argmaxSync(new Float32Array(D).fill(1))]);
  expect(most).toBeLessThan(250_000);
  const left = statSync(body).size - hole;
  expect(left).toBeGreaterThan(0);
  expect(left).toBeLessThan(1000);
  expect(() => LMHead.openSync(body)).toThrow('last_hidden_state');
});

it('external data are found beyond 4 GB', () => {
  const offset = 5 * 2 ** 30;
  const place = { location: 'far.onnx_data', offset, length: 4 * V * D };
  const { bytes: model } = decoder((graph, hidden) => {
    graph.tensor('W', 'f32', [V, D], new Uint8Array(), place);
    return graph.node('MatMul', [hidden, graph.node('Transpose', ['W'])]);
  });
  const path = folder.file('far.onnx', model);
  const file = openSync(folder.path('far.onnx_data'), 'w');
  ftruncateSync(file, offset);
  writeSync(file, bytesOf(WEIGHT as unknown as Uint8Array), 0, 4 * V * D, offset);
  closeSync(file);
  heads = [LMHead.openSync(path), LMHead.from(WEIGHT.slice(), { vocabSize: V, hiddenSize: D })];
  const hidden = someNumbers(D, 4);
  const [far, near] = heads.map(head => [...head.logitsSync(hidden)]);
  expect(far).toEqual(near);
});
