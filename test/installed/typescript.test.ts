/** The declarations, as users' compilers read them: strictly, and without skipLibCheck. */
import { symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { project, run, USE, USED, write } from './project';
import { tool } from './tools';

const require = createRequire(__filename);
const compiler = require.resolve('typescript/bin/tsc');
const [runtime] = inject('runtimes');

const IMPORT = "import { capabilities, LMHead } from 'lmhead';\n";
const TYPES = `
import { LMHead, LMHeadError, type HeadOptions, type Score, type TopK } from 'lmhead';

const options: HeadOptions = { vocabSize: 3, hiddenSize: 2 };
export const head: LMHead = LMHead.from(new Float32Array(6), options);
export const top: TopK = head.topKSync(new Float32Array(2), 1);
export const score: Promise<Score> = head.score(new Float32Array(2), [1]);
export const { logSumExp, argmax } = head.runSync(new Float32Array(2), { argmax: true });
head.sampleSync(new Float32Array(2), { seed: undefined, topK: new Uint8Array(1), bannedIds: undefined });
// @ts-expect-error: it was not asked for
export const { logits } = head.runSync(new Float32Array(2), { argmax: true });
// @ts-expect-error: a required size is missing
LMHead.from(new Float32Array(6), { vocabSize: 3 });
export const code: \`ERR_LMHEAD_\${string}\` = new LMHeadError('SHAPE', '').code;
`;

beforeAll(() => {
  symlinkSync(dirname(require.resolve('@types/node/package.json')), join(project, 'types-node'), 'junction');
});

function compile(name: string, options: object, by = compiler): string {
  const common = {
    target: 'es2022',
    strict: true,
    exactOptionalPropertyTypes: true,
    isolatedModules: true,
    skipLibCheck: false,
    outDir: 'out',
  };
  const config = write(
    `${name}/tsconfig.json`,
    JSON.stringify({
      compilerOptions: {
        ...common,
        lib: ['es2023', 'esnext.disposable'],
        types: [join(project, 'types-node')],
        ...options,
      },
      include: ['.'],
    }),
  );
  return run({ name: '', command: [process.execPath] }, [by, '-p', config]);
}

describe('TypeScript', () => {
  it.each([
    ['node16, ES modules', 'node16-esm', { module: 'node16', moduleResolution: 'node16' }, 'mts', 'mjs'],
    ['node16, CommonJS', 'node16-cjs', { module: 'node16', moduleResolution: 'node16' }, 'cts', 'cjs'],
    ['bundler', 'bundler', { module: 'esnext', moduleResolution: 'bundler' }, 'mts', 'mjs'],
  ])('%s: compiles and runs', (_, name, options, extension, output) => {
    write(`${name}/types.${extension}`, TYPES);
    write(`${name}/use.${extension}`, IMPORT + USE);
    expect(compile(name, options)).toBe('');
    expect(run(runtime, [join(project, name, 'out', `use.${output}`)])).toMatch(USED);
  });

  it('5.2, the oldest that docs/embedding-in-an-app.md promises, reads the declarations', () => {
    const options = { module: 'node16', moduleResolution: 'node16', noEmit: true };
    write('oldest/types.mts', TYPES);
    expect(compile('oldest', options, tool('typescript@5.2.2', 'typescript/bin/tsc'))).toBe('');
  });
});
