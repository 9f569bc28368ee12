/** Files that are none, or not whole, or end in what cannot be cut; and hostile ones. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LMHead, LMHeadError } from '../../lib';
import { bodyPieces } from '../../lib/formats/onnx/cut';
import { readModel } from '../../lib/formats/onnx/model';
import { keptWeight, openOnnx } from '../../lib/formats/onnx/onnx';
import type { Piece } from '../../lib/formats/onnx/wire';
import { cutHead } from '../../lib/onnx';
import { rejectsKind, throwsKind } from '../support/errors';
import { changed, onnxMaterial } from '../support/file-fuzz';
import { temporaryFolder } from '../support/folders';
import { type Asked, fromBytes, fromFiles } from '../support/memory-files';
import { someNumbers } from '../support/numbers';
import { bytes, Graph, int, message, tensor } from '../support/onnx';
import { changedStructure } from '../support/onnx-changes';
import { Random } from '../support/random';
import { D, decoder, V, WEIGHT } from './decoder-graph';
import { everyDecoder, mergedDecoder } from './decoders';
import { oddDecoders, unrunDecoders } from './odd-decoders';

const folder = temporaryFolder();
let files = 0;
const opened = (model: Uint8Array, options = {}) =>
  LMHead.openSync(folder.file('any/model.onnx', model), options);
const weightOf = (graph: Graph) => graph.tensor('W', 'f32', [D, V], WEIGHT);
/** A decoder that ends in that. */
const ending = (head: (graph: Graph, hidden: string) => string) => decoder(head).bytes;

describe('a file that is no decoder', () => {
  const good = ending((graph, hidden) => graph.node('MatMul', [hidden, weightOf(graph)]));

  it('is refused at any length that it is cut to', () => {
    for (let length = 0; length < good.length; length += length < 200 ? 1 : 997) {
      const error = throwsKind(() => opened(good.subarray(0, length)), 'FORMAT', 'model.onnx');
      expect(error.message).toMatch(/no whole ONNX model|empty|cut short/);
    }
  });

  it.each<[string, Uint8Array, RegExp]>([
    ['zeros', Buffer.alloc(100), /begins with zeros/],
    ['zeros in it', message(int(1, 10), bytes(2, 'maker'), Buffer.alloc(100)), /field's key at byte/],
    ['two graphs', message(good, bytes(7, new Graph().bytes())), /two graphs/],
    ['no graph', message(int(1, 10), bytes(2, 'maker')), /no graph/],
    ['a graph that is a number', message(int(1, 10), int(7, 3)), /of another type/],
    ['a group of old', message(int(1, 10), Buffer.from([0x3b])), /no field at byte 2/],
    ['an endless integer', message(int(1, 10), Buffer.alloc(30, 0xff)), /byte/],
  ])('%s', (_, model, says) => {
    expect(throwsKind(() => opened(model), 'FORMAT').message).toMatch(says);
  });
});

describe('a graph', () => {
  it.each<[string, Buffer, string[]]>([
    [
      'without logits',
      (() => {
        const graph = new Graph();
        graph.input('x', 'f32', [1, D]);
        graph.node('LayerNormalization', ['x', 'x'], { outputs: ['states'] });
        graph.output('states', 'f32', [1, D]);
        graph.output('present.0.key', 'f32', [1, D]);
        return graph.model();
      })(),
      ['no output of logits', 'states (of LayerNormalization)'],
    ],
    ['without outputs', new Graph().model(), ['no output of logits', 'none at all']],
    ...[
      'com.microsoft.MatMulBnb4',
      'com.microsoft.MatMulBlockQuantizedFp8Weight',
      'Conv',
      'Slice',
      'own.Head',
    ].map((op): [string, Buffer, string[]] => [
      `that ends in ${op}`,
      ending((graph, hidden) => graph.node(op, [hidden, weightOf(graph)])),
      ['logits', `"${op}"`, 'not cut'],
    ]),
    [
      'that searches by itself',
      (() => {
        const graph = new Graph();
        graph.input('input_ids', 'i32', [1, 'seq']);
        graph.node('com.microsoft.BeamSearch', ['input_ids'], { outputs: ['sequences'] });
        graph.output('sequences', 'i32', [1, 'seq']);
        return graph.model();
      })(),
      ['no output of logits', 'com.microsoft.BeamSearch'],
    ],
    [
      'whose head is a function of its own',
      (() => {
        const graph = new Graph();
        graph.input('x', 'f32', [1, D]);
        graph.node('local.Head', ['x'], { outputs: ['logits'] });
        graph.output('logits', 'f32', [1, V]);
        return graph.model([['local', 'Head']]);
      })(),
      ['"local.Head"', 'a function of the model’s own'],
    ],
    [
      'with prepacked weights',
      ending((graph, hidden) =>
        graph.node('com.microsoft.MatMulNBits', [hidden, weightOf(graph)], {
          K: D,
          N: V,
          weight_prepacked: 1,
        }),
      ),
      ['MatMulNBits', 'prepacked'],
    ],
    [
      'with columns in another order',
      ending((graph, hidden) =>
        graph.node('com.microsoft.MatMulNBits', [hidden, weightOf(graph), 'W', '', 'W'], { K: D, N: V }),
      ),
      ['g_idx'],
    ],
    [
      'whose weight is computed',
      ending((graph, hidden) => graph.node('MatMul', [hidden, graph.node('Relu', [weightOf(graph)])])),
      ['the weight of MatMul', 'Relu'],
    ],
    [
      'whose logits are scaled by what is computed',
      ending((graph, hidden) =>
        graph.node('Mul', [
          graph.node('MatMul', [hidden, weightOf(graph)]),
          graph.node('ReduceMax', [hidden], { keepdims: 1 }),
        ]),
      ),
      ['"Mul"'],
    ],
    [
      'that adds behind the soft-cap',
      ending((graph, hidden) => {
        const product = graph.node('MatMul', [hidden, weightOf(graph)]);
        return graph.node('Add', [graph.node('Tanh', [product]), graph.floats([1], 1)]);
      }),
      ['Add after Tanh'],
    ],
    [
      'with a bias of another length',
      ending((graph, hidden) =>
        graph.node('Add', [graph.node('MatMul', [hidden, weightOf(graph)]), graph.floats([3], 1, 2, 3)]),
      ),
      ['Add of 3 elements'],
    ],
    ['whose branches have different heads', mergedDecoder(true).bytes, ['branches', 'different heads']],
  ])('%s', (_, model, words) => {
    throwsKind(() => opened(model), 'TENSOR', 'model.onnx', ...words);
  });

  it('with several candidates is asked which, by the option tensor', () => {
    const graph = new Graph();
    graph.input('x', 'f32', [1, D]);
    graph.node('MatMul', ['x', weightOf(graph)], { outputs: ['first'] });
    graph.node('MatMul', ['x', graph.tensor('U', 'f32', [D, V], someNumbers(D * V))], {
      outputs: ['second'],
    });
    for (const name of ['first', 'second']) graph.output(name, 'f32', [1, V]);
    throwsKind(() => opened(graph.model()), 'TENSOR', 'several outputs', 'first, second', 'option tensor');
    const head = opened(graph.model(), { tensor: 'second' });
    expect(head.vocabSize).toBe(V);
    head.close();
    throwsKind(() => opened(graph.model(), { tensor: 'third' }), 'TENSOR', '"third"', 'U F32', 'W F32');
    // An initializer is a matrix like any other file's.
    const own = opened(graph.model(), { tensor: 'U', layout: 'dv' });
    expect(own.vocabSize).toBe(V);
    own.close();
    throwsKind(() => opened(graph.model(), { tensor: 'first', layout: 'dv' }), 'RANGE', 'layout');
  });

  it('with a single candidate of another name is taken for what it is', () => {
    const graph = new Graph();
    graph.input('x', 'f32', [1, D]);
    graph.node('MatMul', ['x', weightOf(graph)], { outputs: ['lm_logits'] });
    graph.output('lm_logits', 'f32', [1, V]);
    const head = opened(graph.model());
    expect(head.hiddenSize).toBe(D);
    head.close();
  });

  it('whose head takes nothing is refused', async () => {
    for (const quantized of [true, false]) {
      const model = ending(graph => {
        if (!quantized) return graph.node('MatMul', ['', weightOf(graph)]);
        graph.node('DynamicQuantizeLinear', [], { outputs: ['hq', 'hs', 'hzp'] });
        graph.tensor('Wq', 'i8', [D, V], new Int8Array(D * V));
        graph.tensor('ws', 'f32', [], Float32Array.of(1));
        const product = graph.node('MatMulInteger', ['hq', 'Wq', 'hzp']);
        const cast = graph.node('Cast', [product], { to: 1 });
        return graph.node('Mul', [cast, graph.node('Mul', ['hs', 'ws'])]);
      });
      const path = folder.file(`nothing/${quantized}.onnx`, model);
      await rejectsKind(() => cutHead(path, { output: `${path}.body` }), 'FORMAT', 'takes no hidden states');
    }
  });

  it('whose body would have a name twice is refused when it is cut', async () => {
    const model = decoder((graph, hidden) => {
      graph.node('Neg', [hidden], { outputs: ['last_hidden_state'] });
      return graph.node('MatMul', [hidden, weightOf(graph)]);
    }).bytes;
    const path = folder.file('twice/model.onnx', model);
    await rejectsKind(() => cutHead(path, { output: `${path}.body` }), 'TENSOR', 'last_hidden_state');
    expect(readdirSync(dirname(path))).toEqual(['model.onnx']);
  });
});

describe('external data', () => {
  const model = (place: object) =>
    ending((graph, hidden) =>
      graph.node('MatMul', [hidden, graph.tensor('W', 'f32', [D, V], new Uint8Array(), place)]),
    );
  const size = V * D * 4;
  const withData = (place: object) => {
    const path = folder.file(`${files++}/model.onnx`, model(place));
    writeFileSync(`${dirname(path)}/data`, new Uint8Array(size + 8));
    return () => LMHead.openSync(path);
  };

  it('that is not there is named', () => {
    throwsKind(withData({ location: 'model.onnx_data' }), 'IO', 'model.onnx_data', '"W"', 'no such file');
  });

  it.each(['../data', '/etc/passwd', 'a/data', 'a\\data', '..', '.', '', 'C:data', 'da\0ta'])(
    'in %j is refused',
    location => {
      throwsKind(withData({ location }), 'FORMAT', 'beside the model');
    },
  );

  it.each<[object, string]>([
    [{}, 'beside the model'],
    [{ location: 'data', offset: 9 }, `ends at byte ${size + 9}`],
    [{ location: 'data', offset: -1 }, '"-1"'],
    [{ location: 'data', offset: 'x' }, '"x"'],
    [{ location: 'data', offset: '9007199254740993' }, 'integers, in bytes'],
    [{ location: 'data', length: size - 1 }, `want ${size}`],
    [{ location: 'data', length: size + 4 }, `want ${size}`],
    [{ location: 'data', length: '1e3' }, '"1e3"'],
  ])('%j is refused', (place, says) => {
    throwsKind(withData(place), 'FORMAT', says);
  });

  it('is checked for the right place', () => {
    const head = withData({ location: 'data', offset: 8 })();
    expect(head.vocabSize).toBe(V);
    head.close();
  });
});

describe('hostile graphs', () => {
  /** Reads it in memory: what was asked for. */
  const asked = (model: Uint8Array): { error?: LMHeadError; bytes: number } => {
    const count: Asked = { requests: 0, bytes: 0 };
    try {
      const files = new Map([['/m/model.onnx', model]]);
      const { reader, head } = fromFiles(files, openOnnx('/m/model.onnx', model.length), count);
      fromFiles(files, keptWeight(reader, head.matrix), count);
      return count;
    } catch (error) {
      if (!(error instanceof LMHeadError)) throw error;
      return { error, bytes: count.bytes };
    }
  };
  const wrap = (fields: Uint8Array) => message(int(1, 10), bytes(7, fields));
  const output = bytes(12, bytes(1, 'logits'));

  it.each<[string, Uint8Array, RegExp]>([
    ['nodes in a circle', wrap(message(output, ...circle('Identity'))), /in a circle/],
    [
      'weights in a circle',
      wrap(message(output, product('a'), ...circle('Transpose', 'a'))),
      /want a matrix/,
    ],
    ['graphs within graphs', wrap(nestedGraphs(40)), /graphs within graphs/],
    ['a great many nodes', wrap(Buffer.concat(Array(200_000).fill(bytes(1, '')))), /too many nodes/],
    [
      'a great many inputs of a node',
      wrap(bytes(1, Buffer.concat(Array(600_000).fill(bytes(1, ''))))),
      /too many/,
    ],
    ['a name of a megabyte', wrap(bytes(1, bytes(4, 'x'.repeat(2 ** 20)))), /more than 10000 bytes/],
    ['a shape of many sizes', wrap(bytes(5, bytes(1, Buffer.alloc(100_000, 1)))), /no shape/],
    [
      'a shape that comes to more than there is',
      wrap(message(output, product('W'), bytes(5, tensor('W', 'f32', [2 ** 40, 2 ** 40], new Uint8Array())))),
      /fewer than 2\^50/,
    ],
    [
      'a bias of as many elements as a shape says',
      wrap(
        message(
          output,
          bytes(1, message(bytes(1, 'y'), bytes(1, 'b'), bytes(2, 'logits'), bytes(4, 'Add'))),
          bytes(1, message(bytes(1, 'x'), bytes(1, 'W'), bytes(2, 'y'), bytes(4, 'MatMul'))),
          bytes(5, tensor('b', 'f32', [1], Float32Array.of(1))),
          bytes(5, tensor('W', 'f32', [4, 2 ** 36], new Uint8Array())),
        ),
      ),
      /has 0 bytes/,
    ],
    [
      'a tensor of no bytes',
      wrap(message(output, product('W'), bytes(5, tensor('W', 'f32', [2 ** 20, 2 ** 20], new Uint8Array())))),
      /has 0 bytes/,
    ],
  ])('%s', (_, model, says) => {
    const { error, bytes: read } = asked(model);
    expect(error?.message).toMatch(says);
    expect(error?.message.length).toBeLessThan(1000);
    expect(read).toBeLessThan(3 * model.length + 1000);
  });

  it('weights that are passed over are not read', () => {
    const model = decoder((graph, hidden) => {
      for (let i = 0; i < 20; i++) graph.tensor(`layer${i}`, 'f32', [512, 512], new Float32Array(2 ** 18));
      return graph.node('MatMul', [hidden, weightOf(graph)]);
    }).bytes;
    const { error, bytes: read } = asked(model);
    expect(error).toBeUndefined();
    expect(model.length).toBeGreaterThan(20_000_000);
    expect(read).toBeLessThan(200_000);
  });

  it('changed at random, they are refused or cut, and what is cut is whole', () => {
    const material = onnxMaterial();
    let cut = 0;
    for (let seed = 0; seed < 3000; seed++) {
      const random = new Random(seed);
      const one = changed(random.pick(material), random);
      const path = one.path.endsWith('.onnx') ? one.path : `${one.path}/model.onnx`;
      const model = one.files.get(path)!;
      try {
        const count: Asked = { requests: 0, bytes: 0 };
        const file = fromFiles(one.files, openOnnx(path, model.length), count);
        const body = assembled(model, bodyPieces('model.onnx', model.length, file.model, file.head));
        const again = fromBytes(body, size => readModel('body.onnx', size));
        const at = file.model.graph.outputs.findIndex(({ name }) => name === file.head.output);
        expect(again.graph.outputs[at].name).toBe('last_hidden_state');
        cut++;
      } catch (error) {
        if (!(error instanceof LMHeadError)) throw new Error(`seed ${seed}`, { cause: error });
      }
    }
    expect(cut).toBeGreaterThan(300);
  });

  it('changed in their structure, they are refused or cut, and what is cut is whole', () => {
    const made = Object.values({ ...everyDecoder(), ...oddDecoders(), ...unrunDecoders() });
    let cut = 0;
    for (let seed = 0; seed < 700; seed++) {
      const random = new Random(seed + 1);
      const { bytes: good, beside } = random.pick(made);
      const model = changedStructure(good, random);
      const others = Object.entries(beside).map(([name, data]): [string, Uint8Array] => [`/m/${name}`, data]);
      const files = new Map<string, Uint8Array>([['/m/model.onnx', model], ...others]);
      const count: Asked = { requests: 0, bytes: 0 };
      try {
        const {
          model: read,
          head,
          reader,
        } = fromFiles(files, openOnnx('/m/model.onnx', model.length), count);
        fromFiles(files, keptWeight(reader, head.matrix), count);
        const body = assembled(model, bodyPieces('model.onnx', model.length, read, head));
        fromBytes(body, size => readModel('body.onnx', size));
        cut++;
      } catch (error) {
        if (!(error instanceof LMHeadError)) throw new Error(`seed ${seed}`, { cause: error });
        expect(error.message.length, `seed ${seed}`).toBeLessThan(1000);
      }
    }
    expect(cut).toBeGreaterThan(150);
  });

  it('a file that is written over while it is cut leaves nothing behind', async () => {
    const model = ending((graph, hidden) => graph.node('MatMul', [hidden, weightOf(graph)]));
    const path = folder.file('full/model.onnx', model);
    // No room: the name is a folder's.
    folder.file('full/body.onnx/x', '');
    await rejectsKind(() => cutHead(path, { output: folder.path('full/body.onnx'), overwrite: true }), 'IO');
    expect(readdirSync(folder.path('full')).sort()).toEqual(['body.onnx', 'model.onnx']);
    expect(readFileSync(path)).toEqual(model);
  });
});

function circle(op: string, first = 'logits'): Buffer[] {
  const node = (from: string, to: string) => bytes(1, message(bytes(1, from), bytes(2, to), bytes(4, op)));
  return [node('b', first), node(first, 'b')];
}

function product(weight: string): Buffer {
  return bytes(1, message(bytes(1, 'x'), bytes(1, weight), bytes(2, 'logits'), bytes(4, 'MatMul')));
}

function nestedGraphs(depth: number): Buffer {
  let graph = bytes(2, 'g');
  for (let i = 0; i < depth; i++) graph = bytes(1, message(bytes(4, 'If'), bytes(5, bytes(6, graph))));
  return graph;
}

function assembled(model: Uint8Array, pieces: readonly Piece[]): Buffer {
  return Buffer.concat(
    pieces.map(piece => (piece instanceof Uint8Array ? piece : model.subarray(piece.begin, piece.end))),
  );
}
