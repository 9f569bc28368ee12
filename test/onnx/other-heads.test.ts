/** Real graphs with heads of other types, as exporters' scripts leave them: the tokens of the whole graph, all of them. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { unpack } from '../../lib/dtypes/half';
import { readModel, type Span } from '../../lib/formats/onnx/model';
import { cutHead, OnnxDecoder } from '../../lib/onnx';
import { conformancePath } from '../support/conformance';
import { temporaryFolder } from '../support/folders';
import { narrow } from '../support/half';
import { fromBytes } from '../support/memory-files';
import { bytes, Graph, int, message } from '../support/onnx';
import { idsOf, tinyDecoder, WholeGraph } from '../support/onnx-decoders';
import { describeOnnxruntime } from '../support/onnxruntime';

const folder = temporaryFolder();

/** Weights of a head, [d,V]: the logits of states with a single 1. */
function weightsOf(head: LMHead): Float32Array {
  const d = head.hiddenSize;
  const ones = Float32Array.from({ length: d * d }, (_, i) => Number(i % (d + 1) === 0));
  return head.logitsSync(ones);
}

type Weights = { numbers: Float32Array; V: number; d: number };

/** Nodes from hidden states to `logits`, both in f32. */
type HeadWriter = (graph: Graph, hidden: string, weights: Weights) => void;
const HEADS: Record<string, HeadWriter> = {
  'f16, as by keep_io_types'(graph, hidden, { numbers, V, d }) {
    const half = graph.node('Cast', [hidden], { to: 10 });
    const weight = graph.tensor('half_weight', 'f16', [d, V], narrow(numbers, 'f16'));
    graph.node('Cast', [graph.node('MatMul', [half, weight])], { to: 1, outputs: ['logits'] });
  },
  'q4, accuracy level 0'(graph, hidden, { numbers, V, d }) {
    const blocks = d / 32;
    const packed = new Uint8Array((V * d) / 2);
    const scales = new Float32Array(V * blocks);
    for (let block = 0; block < V * blocks; block++) {
      const [row, first] = [Math.floor(block / blocks), 32 * (block % blocks)];
      const own = Float32Array.from({ length: 32 }, (_, i) => numbers[(first + i) * V + row]);
      const largest = own.reduce((most, x) => (Math.abs(x) > Math.abs(most) ? x : most), 0);
      const [scale] = unpack(narrow(Float32Array.of(largest / -8), 'f16') as Uint16Array, 'f16');
      scales[block] = scale;
      own.forEach((x, i) => {
        const level = scale === 0 ? 8 : Math.min(15, Math.round(x / scale) + 8);
        packed[16 * block + (i >> 1)] |= level << (4 * (i & 1));
      });
    }
    const inputs = [
      hidden,
      graph.tensor('packed_weight', 'u8', [V, blocks, 16], packed),
      graph.tensor('scales', 'f32', [V * blocks], scales),
    ];
    const attributes = { K: d, N: V, bits: 4, block_size: 32, accuracy_level: 0 };
    graph.node('com.microsoft.MatMulNBits', inputs, { ...attributes, outputs: ['logits'] });
  },
};

/** A body with another head in its place; what was cut off had hidden states of another name. */
function joined(body: Uint8Array, weights: Weights, head: HeadWriter): Buffer {
  const { graph, span } = fromBytes(body, size => readModel('body.onnx', size));
  const { nodes, outputs, contents } = graph;
  const output = outputs.find(({ name }) => name === 'last_hidden_state')!;
  const alias = nodes.find(({ op, outputs: [name] }) => op === 'Identity' && name === 'last_hidden_state')!;
  const more = new Graph();
  head(more, alias.inputs[0], weights);
  more.output('logits', 'f32', ['batch', 'seq', weights.V]);
  const without = (from: Span, ...spans: Span[]) => {
    const ends = spans.toSorted((a, b) => a.begin - b.begin);
    const begins = [from.begin, ...ends.map(({ end }) => end)];
    return begins.map((begin, i) => body.subarray(begin, ends[i]?.begin ?? from.end));
  };
  const whole = message(...without(contents, output.span, alias.span), more.bytes());
  const domain = Buffer.from('com.microsoft');
  const rest = message(...without({ begin: 0, end: body.length }, span));
  const opset = rest.includes(domain) ? [] : [bytes(8, message(bytes(1, domain), int(2, 1)))];
  return message(rest, bytes(7, whole), ...opset);
}

describeOnnxruntime('with heads of other types', runtime => {
  const [gpt2, lfm2] = ['gpt2-f32', 'lfm2-f32'].map(name => conformancePath(`onnx-decoders/${name}.onnx`));
  const models: [string, (() => Promise<string>) | undefined][] = [
    ['the shipped model', async () => folder.file('shipped.onnx', (await tinyDecoder()).graph(true))],
    ['gpt2-f32', gpt2 ? async () => gpt2 : undefined],
    ['lfm2-f32', lfm2 ? async () => lfm2 : undefined],
  ];
  describe.each(models)('%s', (name, made) => {
    it.skipIf(!made).each(Object.entries(HEADS))('%s: 60 of 60 tokens', async (kind, head) => {
      const path = await made!();
      const body = folder.path(`${name}.body.onnx`);
      await cutHead(path, { output: body, overwrite: true });
      const own = await LMHead.open(path);
      const { vocabSize: V, hiddenSize: d } = own;
      const bytes = joined(readFileSync(body), { numbers: weightsOf(own), V, d }, head);
      own.close();
      const other = folder.file(`${name}, ${kind.replace(/\W+/g, '-')}.onnx`, bytes);

      const whole = await WholeGraph.open(runtime, other);
      const decoder = await OnnxDecoder.open(other, { runtime });
      const half = kind.startsWith('f16');
      expect(decoder.head!.dtype).toBe(half ? 'f16' : 'q4_0');
      const prompt = [5, 17, 200, 3];
      for (const options of [{ temperature: 0 }, { temperature: 0.9, topP: 0.95, seed: 11 }]) {
        const wanted = await whole.continued(prompt, 60, options);
        expect(await idsOf(decoder.generate(prompt, { ...options, maxTokens: 60 }))).toEqual(wanted);
      }
      whole.begin();
      const logits = await whole.read(prompt);
      const found = decoder.head!.logitsSync((await decoder.prefill(prompt)).hidden);
      const largest = logits.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      const most = found.reduce((most, x, i) => Math.max(most, Math.abs(x - logits[i])), 0);
      expect(most / largest).toBeLessThan(half ? 1e-3 : 2e-6);
      await decoder.close();
      await whole.close();
    });
  });
});
