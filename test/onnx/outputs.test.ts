/** Decoders whose graphs give more than logits, or give them otherwise. */
import { describe, expect, it } from 'vitest';
import { cutHead, OnnxDecoder } from '../../lib/onnx';
import { rejectsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { Graph } from '../support/onnx';
import { idsOf } from '../support/onnx-decoders';
import { describeOnnxruntime } from '../support/onnxruntime';
import { D, EMBEDDING, V, WEIGHT } from './decoder-graph';

const folder = temporaryFolder();

/** A decoder without caches. @param end what follows the hidden states, of this name */
function write(name: string, hidden: string, end: (graph: Graph, weight: string) => void): string {
  const graph = new Graph();
  graph.input('input_ids', 'i64', ['batch', 'seq']);
  graph.tensor('embed', 'f32', [V, D], EMBEDDING);
  graph.node('Tanh', [graph.node('Gather', ['embed', 'input_ids'])], { outputs: [hidden] });
  const weight = graph.node('Transpose', [graph.tensor('W', 'f32', [V, D], WEIGHT)], { perm: [1, 0] });
  end(graph, weight);
  return folder.file(`${name.replace(/\W+/g, '-')}/model.onnx`, graph.model());
}

const SHAPE = ['batch', 'seq', V] as const;
const logits = (graph: Graph, hidden: string, weight: string) => {
  graph.node('MatMul', [hidden, weight], { outputs: ['logits'] });
  graph.output('logits', 'f32', SHAPE);
};

const WAYS: Record<string, () => [path: string, outputs: string[]]> = {
  'the hidden states by the name of a body’s': () => [
    write('both', 'last_hidden_state', (graph, weight) => {
      graph.output('last_hidden_state', 'f32', ['batch', 'seq', D]);
      logits(graph, 'last_hidden_state', weight);
    }),
    ['last_hidden_state'],
  ],
  'the hidden states by another name': () => [
    write('other', 'hidden_states', (graph, weight) => {
      logits(graph, 'hidden_states', weight);
      graph.output('hidden_states', 'f32', ['batch', 'seq', D]);
    }),
    ['last_hidden_state', 'hidden_states'],
  ],
  'the best token, which takes the logits': () => [
    write('best', 'h', (graph, weight) => {
      logits(graph, 'h', weight);
      graph.node('ArgMax', ['logits'], { axis: -1, keepdims: 0, outputs: ['best'] });
      graph.output('best', 'i64', ['batch', 'seq']);
    }),
    ['last_hidden_state', 'best'],
  ],
  'the logits of as many rows as are asked for': () => [
    write('kept', 'h', (graph, weight) => {
      graph.input('num_logits_to_keep', 'i64', []);
      const first = graph.node('Unsqueeze', [graph.node('Neg', ['num_logits_to_keep']), graph.ints(0)]);
      logits(graph, graph.node('Slice', ['h', first, graph.ints(2 ** 40), graph.ints(1)]), weight);
    }),
    ['last_hidden_state'],
  ],
};

describeOnnxruntime('a graph that gives', ({ InferenceSession, ...others }) => {
  const runtime = { InferenceSession, ...others };
  it.each(Object.entries(WAYS))('%s', async (_, way) => {
    const [path, outputs] = way();
    const output = path.replace('model', 'body');
    await cutHead(path, { output });
    const session = await InferenceSession.create(output);
    expect(session.outputMetadata.map(({ name }) => name)).toEqual(outputs);
    await session.release();
    const tokens: number[][] = [];
    for (const cut of [true, false]) {
      const decoder = await OnnxDecoder.open(path, { runtime, cut });
      expect(decoder.head !== undefined).toBe(cut);
      tokens.push(await idsOf(decoder.generate([1, 2, 3], { temperature: 0, maxTokens: 6 })));
      expect((await decoder.score([1, 2, 3, 4])).count).toBe(3);
      await decoder.close();
    }
    expect(tokens[0]).toHaveLength(6);
    expect(tokens[1]).toEqual(tokens[0]);
  });

  it('rows of logits that are cut off behind the head chooses from these', async () => {
    const path = write('behind', 'h', (graph, weight) => {
      graph.input('num_logits_to_keep', 'i64', []);
      const first = graph.node('Unsqueeze', [graph.node('Neg', ['num_logits_to_keep']), graph.ints(0)]);
      const all = graph.node('MatMul', ['h', weight]);
      graph.node('Slice', [all, first, graph.ints(2 ** 40), graph.ints(1)], { outputs: ['logits'] });
      graph.output('logits', 'f32', SHAPE);
    });
    const output = path.replace('model', 'body');
    await rejectsKind(() => cutHead(path, { output }), 'TENSOR', '"Slice"', 'not cut');
    const decoder = await OnnxDecoder.open(path, { runtime });
    expect(decoder.head).toBeUndefined();
    expect(await idsOf(decoder.generate([1, 2, 3], { temperature: 0, maxTokens: 6 }))).toHaveLength(6);
    await decoder.close();
  });
});

describe('a graph that ends in', () => {
  it.each<[string, (graph: Graph, weight: string) => string]>([
    ['LogSoftmax', (graph, weight) => graph.node('LogSoftmax', [graph.node('MatMul', ['h', weight])])],
    [
      'Clip',
      (graph, weight) =>
        graph.node('Clip', [graph.node('MatMul', ['h', weight]), graph.floats([], -3), graph.floats([], 3)]),
    ],
    [
      'Concat',
      (graph, weight) => {
        const halves = [0, 1].map(() => graph.node('MatMul', ['h', weight]));
        return graph.node('Concat', halves, { axis: -1 });
      },
    ],
    [
      'Add',
      (graph, weight) => {
        const low = graph.tensor('A', 'f32', [D, 2], new Float32Array(2 * D));
        const high = graph.tensor('B', 'f32', [2, V], new Float32Array(2 * V));
        const adapter = graph.node('MatMul', [graph.node('MatMul', ['h', low]), high]);
        return graph.node('Add', [graph.node('MatMul', ['h', weight]), adapter]);
      },
    ],
  ])('%s is refused by that name', async (op, end) => {
    const path = write(`ends ${op}`, 'h', (graph, weight) => {
      graph.node('Identity', [end(graph, weight)], { outputs: ['logits'] });
      graph.output('logits', 'f32', SHAPE);
    });
    await rejectsKind(() => cutHead(path, { output: `${path}.body` }), 'TENSOR', `"${op}"`, 'not cut');
  });
});
