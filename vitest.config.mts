import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** What takes longest begins first, so that no CPU waits for it at the end. */
const LONGEST = [
  'test/examples/bulk-scoring.',
  'test/memory/',
  'test/package/',
  'test/api/verify-draft-',
  'test/api/activations.',
  'test/cli/',
  'test/workers/',
  'test/sampling/',
  'test/docs/',
  'test/async/',
  'test/kernels/',
  'test/onnx/',
  'test/examples/',
  'test/api/unusable-rows.',
  'test/api/screening.',
  'test/formats/fuzz.',
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]) {
    const place = ({ moduleId }: TestSpecification) => {
      const found = LONGEST.findIndex(folder => moduleId.includes(`/${folder}`));
      return found < 0 ? LONGEST.length : found;
    };
    return (await super.sort(files)).sort((a, b) => place(a) - place(b));
  }
}

/** Files that want a process of their own: for kernels that it chooses once, for modules that are not the others', for its memory. */
const APART = ['test/kernels/*', 'test/examples/tiny-lm.*', 'test/memory/*'];

/** `npm run test:slow` is of mode slow: what measures, draws or damages many thousands of times. `npm test` has a little of each. */
export default defineConfig(({ mode }) => {
  const ending = mode === 'slow' ? 'slow.ts' : 'test.ts';
  return {
    test: {
      projects: [
        {
          extends: true,
          test: {
            name: 'apart',
            include: APART.map(folder => `${folder}.${ending}`),
          },
        },
        // Starting a process and loading modules for each file takes longer than most files' tests.
        {
          extends: true,
          test: {
            name: 'together',
            include: [`test/**/*.${ending}`],
            exclude: ['test/installed/**', ...APART], // npm run test:package
            isolate: false,
          },
        },
      ],
      setupFiles: ['test/support/setup.ts'],
      pool: 'forks',
      // By default one CPU stays free; and programs that tests wait for leave another.
      maxWorkers: availableParallelism() + 1,
      sequence: { sequencer: LongestFirst },
      testTimeout: 60000,
      hookTimeout: 120000,
    },
  };
});
