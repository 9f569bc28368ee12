import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LMHead, type LMHeadError } from '../../lib';
import { follow, followSync, type Plan, within } from '../../lib/formats/read-plan';
import { parseHeader, readSafetensors } from '../../lib/formats/safetensors';
import type { TensorTable } from '../../lib/formats/tensor-table';
import { backends } from '../support/backends';
import { bytesOf } from '../support/bytes';
import { conformanceJson, conformancePath, describeConformance } from '../support/conformance';
import { rejectsKind, throwsKind } from '../support/errors';
import { narrow } from '../support/half';
import { expectClose, someNumbers } from '../support/numbers';
import { safetensors, withHeader } from '../support/safetensors';

const codeOf = (error: LMHeadError) => error.code;

function attempt(call: () => void): string | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    return codeOf(error as LMHeadError);
  }
}

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lmhead-safetensors-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function* tensorsAt(path: string): Plan<TensorTable> {
  const plan = within(path, statSync(path).size, size => readSafetensors(basename(path), size));
  return (yield* plan).tensors;
}

function read(path: string): TensorTable {
  return followSync(tensorsAt(path));
}

function readAsync(path: string): Promise<TensorTable> {
  return follow(tensorsAt(path));
}

function saved(bytes: string | Uint8Array): string {
  const path = join(folder, 'file.safetensors');
  writeFileSync(path, bytes);
  return path;
}

/** Parses a header whose tensors hold `dataBytes`. */
function parse(header: string, dataBytes = 0): TensorTable {
  const bytes = Buffer.from(header);
  return parseHeader(bytes, 8 + bytes.length + dataBytes, 'test').tensors;
}

const tensor = (shape: unknown, offsets: unknown, dtype = 'F32') =>
  JSON.stringify({ dtype, shape, data_offsets: offsets });

describe('a well-formed header', () => {
  it('gives each tensor its type, shape and place in the file', () => {
    const header = `{"__metadata__":{"a":"b"},"x":${tensor([2, 3], [4, 28])},"y":${tensor([], [0, 4], 'I32')}}`;
    const tensors = parse(header, 28);
    const start = 8 + header.length;
    expect([...tensors]).toEqual([
      ['x', { dtype: 'F32', shape: [2, 3], begin: start + 4, end: start + 28 }],
      ['y', { dtype: 'I32', shape: [], begin: start, end: start + 4 }],
    ]);
  });

  it('may have white space around it, empty tensors, unknown keys and escapes', () => {
    expect(parse(' \t\r\n{} \n').size).toBe(0);
    expect(parse(`{"e":${tensor([2, 0], [0, 0])},"f":${tensor([0], [0, 0])}}`).size).toBe(2);
    const extra =
      '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"more":{"x":[1.5e3,true,null,"\\n",-0,{}]}}}';
    expect(parse(extra, 1).get('a')?.shape).toEqual([1]);
    expect([...parse(`{"\\u0061\\ud83d\\ude00":${tensor([], [0, 4])}}`, 4).keys()]).toEqual(['a😀']);
  });

  it('may name a tensor __proto__, which harms nothing', () => {
    const tensors = parse(`{"__proto__":${tensor([1], [0, 4])},"constructor":${tensor([1], [4, 8])}}`, 8);
    expect([...tensors.keys()]).toEqual(['__proto__', 'constructor']);
    expect(({} as { dtype?: string }).dtype).toBeUndefined();
  });

  it('may have numbers of four and six bits, if they fill whole bytes', () => {
    expect(parse(`{"a":${tensor([1, 2], [0, 1], 'F4')}}`, 1).size).toBe(1);
    expect(parse(`{"a":${tensor([4], [0, 3], 'F6_E2M3')}}`, 3).size).toBe(1);
    throwsKind(() => parse(`{"a":${tensor([3], [0, 2], 'F4')}}`, 2), 'FORMAT', 'a');
  });
});

describe('a malformed header is refused', () => {
  const good = tensor([1], [0, 4]);
  const cases: [what: string, header: string, dataBytes?: number][] = [
    ['no JSON', 'hello'],
    ['nothing', ''],
    ['an array', '[]'],
    ['text after the end', '{}x'],
    ['NULs after the end', '{}\0\0'],
    ['an end too early', '{"a":'],
    ['an open string', '{"a'],
    ['a comma too many', `{"a":${good},}`, 4],
    ['a key without quotes', `{a:${good}}`, 4],
    ['a line break in a string', `{"a\n":${good}}`, 4],
    ['a wrong escape', `{"\\x":${good}}`, 4],
    ['half a surrogate pair', `{"\\ud83d":${good}}`, 4],
    ['a name twice', `{"a":${good},"a":${good}}`, 4],
    ['a name twice, once escaped', `{"a":${good},"\\u0061":${tensor([1], [4, 8])}}`, 8],
    ['__proto__ twice', `{"__proto__":${good},"__proto__":${good}}`, 4],
    ['a key twice', '{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4],
    ['metadata twice', '{"__metadata__":{},"__metadata__":{}}'],
    ['metadata of numbers', '{"__metadata__":{"a":1}}'],
    ['metadata that is none', '{"__metadata__":3}'],
    ['a tensor that is none', '{"a":3}'],
    ['no dtype', '{"a":{"shape":[1],"data_offsets":[0,4]}}', 4],
    ['no shape', '{"a":{"dtype":"F32","data_offsets":[0,4]}}', 4],
    ['no offsets', '{"a":{"dtype":"F32","shape":[1]}}', 4],
    ['an unknown dtype', `{"a":${tensor([1], [0, 4], 'F33')}}`, 4],
    ['a dtype from the prototype', `{"a":${tensor([1], [0, 4], 'constructor')}}`, 4],
    ['one offset', `{"a":${tensor([1], [0])}}`, 4],
    ['three offsets', `{"a":${tensor([1], [0, 4, 4])}}`, 4],
    ['offsets in the wrong order', `{"a":${tensor([1], [4, 0])}}`, 4],
    ['a negative dimension', `{"a":${tensor([-1], [0, 4])}}`, 4],
    ['a fractional dimension', `{"a":${tensor([1.5], [0, 6])}}`, 6],
    ['a dimension with an exponent', '{"a":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4]}}', 4],
    ['a dimension with a leading zero', '{"a":{"dtype":"F32","shape":[01],"data_offsets":[0,4]}}', 4],
    ['a dimension in quotes', `{"a":${tensor(['1'], [0, 4])}}`, 4],
    ['a dimension beyond 2^53', '{"a":{"dtype":"F32","shape":[9007199254740993],"data_offsets":[0,4]}}', 4],
    ['dimensions whose product wraps to 0', `{"a":${tensor([2 ** 32, 2 ** 32], [0, 0])}}`],
    ['the same hidden by a 0', `{"a":${tensor([0, 2 ** 32, 2 ** 32], [0, 0])}}`],
    ['a size that differs from the shape', `{"a":${tensor([2], [0, 4])}}`, 4],
    ['overlapping tensors', `{"a":${tensor([2], [0, 8])},"b":${tensor([1], [4, 8])}}`, 8],
    ['two tensors in one place', `{"a":${good},"b":${good}}`, 4],
    ['a hole', `{"a":${good},"b":${tensor([1], [8, 12])}}`, 12],
    ['a hole before the first', `{"a":${tensor([1], [4, 8])}}`, 8],
    ['bytes after the last', `{"a":${good}}`, 5],
    ['a file cut short', `{"a":${good}}`, 3],
    ['an empty tensor out of place', `{"a":${good},"b":${tensor([0], [2, 2])}}`, 4],
    ['deep nesting', `{"a":${'['.repeat(100_000)}`],
    ['deep nesting in an unknown key', `{"a":{"x":${'[{"y":'.repeat(50_000)}`],
    ['a string without an end', `{"${'a'.repeat(1_000_000)}`],
  ];
  it.each(cases)('%s', (_, header, dataBytes) => {
    throwsKind(() => parse(header, dataBytes), 'FORMAT', 'test', 'well-formed');
  });

  it('bytes that are no UTF-8', () => {
    const bytes = Buffer.from([0x7b, 0xff, 0x7d]);
    throwsKind(() => parseHeader(bytes, 11, 'test'), 'FORMAT', 'UTF-8');
  });

  it('whatever its text, with FORMAT and nothing else', () => {
    const pieces = fc.constantFrom(
      ...[
        '{',
        '}',
        '[',
        ']',
        ',',
        ':',
        '"',
        '\\',
        '"a"',
        '"dtype"',
        '"F32"',
        '"shape"',
        '"data_offsets"',
        '0',
        '4',
        '1e3',
      ],
      ...['-', 'null', ' ', '\u0000', '{"a":', tensor([1], [0, 4])],
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 30 }), parts => {
        try {
          parse(parts.join(''), 4);
        } catch (error) {
          expect((error as LMHeadError).code).toBe('ERR_LMHEAD_FORMAT');
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('a malformed file is refused', () => {
  const cases: [what: string, bytes: () => Uint8Array | string, ...words: string[]][] = [
    ['empty', () => '', 'empty'],
    ['shorter than its length', () => 'abc', '3 bytes'],
    ['a length of 2^64 − 1', () => Buffer.concat([Buffer.alloc(8, 0xff), Buffer.from('{}')]), 'does not fit'],
    ['a length one too large', () => withHeader('{}').subarray(0, 9), 'does not fit'],
    ['JSON', () => '{"weight_map":{}, "metadata": {}}'],
  ];
  it.each(cases)('%s', async (_, bytes, ...words) => {
    const path = saved(bytes());
    throwsKind(() => read(path), 'FORMAT', 'file.safetensors', ...words);
    await rejectsKind(() => readAsync(path), 'FORMAT', 'file.safetensors', ...words);
  });

  it('a header of more than 25 MB', () => {
    const size = 2 ** 40;
    const plan = readSafetensors('big', size);
    plan.next();
    const start = new Uint8Array(22);
    new DataView(start.buffer).setBigUint64(0, 25_000_001n, true);
    throwsKind(() => plan.next(start), 'FORMAT', '25000001');
  });

  it('every cut of a good file', () => {
    const whole = withHeader(`{"a":${tensor([2], [0, 8])}}`, new Uint8Array(8));
    expect(read(saved(whole)).size).toBe(1);
    for (let length = 0; length < whole.length; length++) {
      throwsKind(() => read(saved(whole.subarray(0, length))), 'FORMAT');
    }
  });
});

it('reads long headers', () => {
  const names = Array.from({ length: 50_000 }, (_, i) => `"t${i}":${tensor([1], [4 * i, 4 * i + 4])}`);
  const tensors = parse(`{${names.join(',')}}`, 200_000);
  expect(tensors.size).toBe(50_000);
  expect(tensors.get('t49999')!.end - tensors.get('t0')!.begin).toBe(200_000);
  expect(parse(`${' '.repeat(5_000_000)}{}`).size).toBe(0);
  expect(parse(`{"__metadata__":{"a":"${'\\n'.repeat(2_000_000)}"}}`).size).toBe(0);
});

describeConformance('safetensors', 'the files of huggingface/safetensors', () => {
  const cases = conformanceJson<{ file: string; expect: string }[]>('safetensors/manifest.json');

  it('are 28', () => {
    expect(cases.length).toBe(28);
  });

  it.each(cases)('$file: $expect', async ({ file, expect: verdict }) => {
    const path = conformancePath(`safetensors/${file}`)!;
    if (verdict === 'accept') {
      const tensors = read(path);
      expect([...(await readAsync(path))]).toEqual([...tensors]);
    } else {
      throwsKind(() => read(path), 'FORMAT', file);
      await rejectsKind(() => readAsync(path), 'FORMAT', file);
    }
  });

  it.each(cases)('$file: $expect, and LMHead.open agrees', async ({ file, expect: verdict }) => {
    const path = conformancePath(`safetensors/${file}`)!;
    const codes = [
      await LMHead.open(path).then(head => head.close(), codeOf),
      await LMHead.open(path, { backend: 'reference', mmap: false }).then(head => head.close(), codeOf),
      attempt(() => LMHead.openSync(path).close()),
    ];
    expect(new Set(codes).size).toBe(1);
    // A well-formed file need not hold an output matrix.
    const wellFormed = [undefined, 'ERR_LMHEAD_TENSOR', 'ERR_LMHEAD_DTYPE', 'ERR_LMHEAD_SHAPE'];
    expect(verdict === 'accept' ? wellFormed : ['ERR_LMHEAD_FORMAT']).toContain(codes[0]);
  });

  it.each(['burn_multi_layer', 'candle_csm_voices'])('%s, from the wild', name => {
    const path = conformancePath(`safetensors/real/${name}.safetensors`)!;
    const ends = [...read(path).values()].map(({ end }) => end);
    expect(Math.max(...ends)).toBe(statSync(path).size);
  });
});

describe.each(backends)('numbers of every type, %s', backend => {
  const [v, d] = [3, 4];
  const numbers = someNumbers(v * d, 7);
  const tensorOf = (name: string, dtype: string, shape: number[], array: ArrayBufferView) => ({
    name,
    dtype,
    shape,
    bytes: bytesOf(array),
  });

  it('float64 weights, a bf16 norm, a half bias', () => {
    const norm = narrow(Float32Array.of(1, 2, 0.5, -1), 'bf16');
    const bias = narrow(Float32Array.of(4, -8, 0.25), 'f16');
    saved(
      safetensors([
        tensorOf('lm_head.weight', 'F64', [v, d], Float64Array.from(numbers)),
        tensorOf('model.norm.weight', 'BF16', [d], norm),
        tensorOf('lm_head.bias', 'F16', [v], bias),
      ]),
    );
    writeFileSync(join(folder, 'config.json'), '{"model_type":"llama","rms_norm_eps":0}');
    const head = LMHead.openSync(join(folder, 'file.safetensors'), { backend });
    rmSync(join(folder, 'config.json'));
    expect([head.dtype, head.parameterCount]).toEqual(['f32', v * d + v + d]);
    expect([...head.logitsSync(new Float32Array(d))]).toEqual([4, -8, 0.25]);
    const h = Float32Array.of(2, 2, -2, 2); // of mean square 4
    const expected = [0, 1, 2].map(row => {
      const e = numbers.subarray(row * d, (row + 1) * d);
      return e[0] + 2 * e[1] - 0.5 * e[2] - e[3] + [4, -8, 0.25][row];
    });
    expectClose(head.logitsSync(h, { norm: true }), expected, { absolute: 2e-6 });
  });

  it.each(['F8_E4M3', 'I8', 'U8', 'BOOL'])('but not of %s, which is named', dtype => {
    const path = saved(safetensors([tensorOf('lm_head.weight', dtype, [v, d], new Uint8Array(v * d))]));
    throwsKind(() => LMHead.openSync(path, { backend }), 'DTYPE', 'lm_head.weight', dtype);
  });
});
