import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { narrow as narrowExactly, unpack } from '../../lib/dtypes/half';
import type { FloatDtype, HeadOptions } from '../../lib/types';
import { backends } from '../support/backends';
import { rejectsKind, throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { narrow } from '../support/half';
import { D, makeHead, someHidden, someWeight, V } from '../support/heads';
import { someNumbers } from '../support/numbers';
import { floats, safetensors } from '../support/safetensors';

const folder = temporaryFolder();
const full: Partial<HeadOptions> = {
  bias: someNumbers(V, 7),
  logitScale: 0.1,
  softCap: 3.3,
  capOrder: 'cap-then-scale',
  validVocabSize: V - 2,
  embeddingScale: Math.sqrt(D),
  norm: { type: 'layernorm', weight: someNumbers(D, 8), bias: someNumbers(D, 9), eps: 1e-5, offset: 1 },
};

function answers(head: LMHead, norm: boolean) {
  return [
    head.vocabSize,
    head.hiddenSize,
    head.dtype,
    head.tied,
    head.parameterCount,
    head.embed([0, 5, V - 1]),
    head.logitsSync(someHidden()),
    norm && head.logitsSync(someHidden(), { norm }),
  ];
}

describe.each(backends)('save, %s', backend => {
  const heads: [name: string, head: () => LMHead][] = (['f32', 'f16', 'bf16'] as FloatDtype[]).flatMap(
    dtype => {
      const weight = narrow(someWeight(), dtype);
      const input = narrow(someNumbers(V * D, 6), dtype);
      return [
        [`${dtype}, plain`, () => makeHead(backend, { dtype }, weight)],
        [`${dtype}, with everything`, () => makeHead(backend, { dtype, ...full }, weight)],
        [`${dtype}, untied`, () => makeHead(backend, { dtype, inputEmbedding: input, ...full }, weight)],
        [`${dtype}, stored as [d,V]`, () => makeHead(backend, { dtype, layout: 'dv' }, weight)],
      ] as [string, () => LMHead][];
    },
  );

  it.each(heads)('%s: opens again to the same bits', async (name, make) => {
    const head = make();
    const norm = name.includes('everything') || name.includes('untied');
    const path = folder.path('saved.safetensors');
    await head.save(path);
    const bytes = readFileSync(path);
    expect(answers(await LMHead.open(path, { backend }), norm)).toEqual(answers(head, norm));
    head.saveSync(pathToFileURL(path));
    expect(readFileSync(path).equals(bytes)).toBe(true);
    expect(answers(LMHead.openSync(path, { backend: 'reference' }), false).slice(0, 6)).toEqual(
      answers(head, false).slice(0, 6),
    );
  });

  it('over the file that the head has mapped', async () => {
    const path = folder.file(
      'self.safetensors',
      safetensors([floats('lm_head.weight', [V, D], someWeight())]),
    );
    const head = LMHead.openSync(path, { backend, logitScale: 2 });
    const before = head.logitsSync(someHidden());
    await head.save(path);
    expect(head.logitsSync(someHidden())).toEqual(before);
    expect(LMHead.openSync(path, { backend }).logitsSync(someHidden())).toEqual(before);
  });

  it('of more than is copied at a time', async () => {
    const [vocabSize, hiddenSize] = [30_011, 64];
    const weight = someNumbers(vocabSize * hiddenSize, 5);
    const bits = narrow(weight, 'bf16');
    const path = folder.path('large.safetensors');
    await LMHead.from(bits, { vocabSize, hiddenSize, dtype: 'bf16', backend }).save(path);
    expect(readFileSync(path).subarray(-bits.byteLength).equals(Buffer.from(bits.buffer))).toBe(true);
    expect((statSync(path).size - bits.byteLength) % 64).toBe(0);
  });

  it('leaves nothing behind where it fails, and the head works on', async () => {
    const head = makeHead(backend);
    const before = readdirSync(folder.path()).filter(name => name !== 'taken');
    throwsKind(() => head.saveSync(folder.path('none/x.safetensors')), 'IO', 'cannot be written', 'none');
    await rejectsKind(() => head.save(folder.path('none/x.safetensors')), 'IO', 'cannot be written');
    folder.file('taken/file', 'x');
    await rejectsKind(() => head.save(folder.path('taken')), 'IO', 'taken'); // a folder has that name
    throwsKind(() => head.saveSync(folder.path('taken')), 'IO', 'taken');
    expect(readdirSync(folder.path()).filter(name => name !== 'taken')).toEqual(before);
    expect(head.argmaxSync(someHidden()).length).toBe(2);
  });

  it('refuses no path, and a closed head', async () => {
    const head = makeHead(backend);
    await rejectsKind(() => head.save(3 as unknown as string), 'ARGUMENT', 'path', 'got 3');
    throwsKind(() => head.saveSync(new URL('http://x/y')), 'ARGUMENT', 'path');
    head.close();
    await rejectsKind(() => head.save(folder.path('c')), 'CLOSED');
    throwsKind(() => head.saveSync(folder.path('c')), 'CLOSED');
  });

  it('that is cut short by close() leaves no file', async () => {
    const head = LMHead.from(new Float32Array(3_000_000), { vocabSize: 30_000, hiddenSize: 100, backend });
    const path = folder.path('closed.safetensors');
    const saving = head.save(path);
    head.close();
    await saving.catch((error: unknown) => expect(error).toMatchObject({ code: 'ERR_LMHEAD_CLOSED' }));
    const left = readdirSync(dirname(path)).filter(name => name.includes(basename(path)));
    expect(left.filter(name => name.endsWith('.tmp'))).toEqual([]);
  });
});

it('writes the same of a head that was attached', () => {
  const head = makeHead('native', { inputEmbedding: someNumbers(V * D, 6), ...full });
  const attached = LMHead.attach(structuredClone(head.handle));
  const [own, other] = [folder.path('own.safetensors'), folder.path('attached.safetensors')];
  head.saveSync(own);
  attached.saveSync(other);
  expect(readFileSync(other).equals(readFileSync(own))).toBe(true);
});

it('fails with IO where the mapped file was changed', () => {
  const path = folder.file('gone.safetensors', safetensors([floats('lm_head.weight', [V, D], someWeight())]));
  const head = LMHead.openSync(path, { backend: 'native' });
  writeFileSync(path, 'short');
  throwsKind(() => head.saveSync(folder.path('copy.safetensors')), 'IO', 'changed');
  expect(readdirSync(folder.path()).filter(name => name.includes('copy'))).toEqual([]);
});

describe('the metadata of a saved head', () => {
  const open = (text: string) =>
    LMHead.openSync(
      folder.file(
        join('metadata', 'm.safetensors'),
        safetensors([floats('model.embed_tokens.weight', [V, D], someWeight())], { lmhead: text }),
      ),
    );

  it('goes before a config.json beside it', () => {
    folder.file('metadata/config.json', '{"model_type":"gemma2","vocab_size":3,"hidden_size":99}');
    expect(open('{"vocabSize":5}').logitsSync(someHidden(1)).indexOf(-Infinity)).toBe(5);
  });

  it.each([
    ...[
      '',
      '{',
      '[]',
      '{"tied":1}',
      '{"vocabSize":0}',
      '{"vocabSize":1.5}',
      '{"logitScale":"2"}',
      '{"logitScale":1e39}',
    ],
    ...['{"softCap":0}', '{"capOrder":"x"}', '{"norm":3}', '{"norm":{}}', '{"tied":true,"tied":true}'],
    ...['{"norm":{"type":"x","eps":0,"offset":0}}', '{"norm":{"type":"rmsnorm","eps":-1,"offset":0}}'],
  ])('is refused: %s', text => {
    throwsKind(() => open(text), 'FORMAT', 'm.safetensors', 'lmhead');
  });
});

describe('narrow', () => {
  it('is the inverse of unpack for every number', () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    for (const dtype of ['f16', 'bf16'] as const) {
      const none = (bits: number) => Number.isNaN(unpack(Uint16Array.of(bits), dtype)[0]);
      const back = narrowExactly(unpack(all, dtype), dtype);
      const wrong = all.filter(bits => back[bits] !== bits && !(none(bits) && none(back[bits])));
      expect([...wrong]).toEqual([]);
    }
  });

  it('reads the part of an array that it is given', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 0x7bff })), fc.nat(5), (bits, skip) => {
        const wide = unpack(Uint16Array.from(bits), 'f16').subarray(skip);
        expect([...narrowExactly(wide, 'f16')]).toEqual(bits.slice(skip));
      }),
    );
  });
});
