/** A disk without room for all of a body: nothing is left behind, and what was there before is whole. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { cutHead } from '../../lib/onnx';
import { rejectsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { packageFolder } from '../support/processes';
import { D, decoder, V, WEIGHT } from './decoder-graph';

const folder = temporaryFolder();
const OLD = 'the body of another model';

/** Its body has a megabyte of weights. */
function writeModel(): string {
  const { bytes } = decoder((graph, hidden) => {
    const layer = graph.tensor('layer', 'f32', [D, 4096], new Float32Array(D * 4096).fill(1));
    const sum = graph.node('ReduceSum', [layer, graph.ints(1)], { keepdims: 0 });
    return graph.node('MatMul', [graph.node('Add', [hidden, sum]), graph.tensor('W', 'f32', [D, V], WEIGHT)]);
  });
  return folder.file('model.onnx', bytes);
}

/** A file system of 256 KB; only an administrator may make one. @returns why there is none */
function smallDisk(at: string): string | undefined {
  mkdirSync(at, { recursive: true });
  const { status, stderr, error } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', at], {
    encoding: 'utf8',
  });
  return status === 0 ? undefined : (error?.message ?? stderr.trim());
}

describe.skipIf(process.platform === 'win32')('cutHead', () => {
  it.skipIf(process.platform !== 'linux')('on a disk that is full', async context => {
    const disk = folder.path('disk');
    const none = smallDisk(disk);
    if (none !== undefined) return context.skip(`no small disk can be made here: ${none}`);
    try {
      const model = writeModel();
      const output = `${disk}/body.onnx`;
      const fails = (options = {}) =>
        rejectsKind(
          () => cutHead(model, { output, ...options }),
          'IO',
          'output: ',
          'ENOSPC',
          'want room for all',
        );
      await fails();
      expect(readdirSync(disk)).toEqual([]);
      writeFileSync(output, OLD);
      await fails({ overwrite: true });
      expect(readdirSync(disk)).toEqual(['body.onnx']);
      expect(readFileSync(output, 'utf8')).toBe(OLD);
    } finally {
      spawnSync('umount', [disk]);
    }
  });

  it('where files may be no larger', () => {
    const model = writeModel();
    const output = folder.file('limited/body.onnx', OLD);
    const code = `
      const { cutHead } = require(process.argv[1]);
      cutHead(process.argv[2], { output: process.argv[3], overwrite: true }).then(
        () => console.log('written'),
        ({ code, message }) => console.log(code, message));`;
    const limited = 'ulimit -f 64 && exec "$0" -e "$@"';
    const entry = `${packageFolder}/dist/onnx/index.js`;
    const { status, stdout } = spawnSync(
      'sh',
      ['-c', limited, process.execPath, code, entry, model, output],
      { encoding: 'utf8' },
    );
    expect(status).toBe(0);
    expect(stdout).toMatch(/^ERR_LMHEAD_IO output: .*EFBIG.*; want room for all of it\n$/);
    expect(readdirSync(folder.path('limited'))).toEqual(['body.onnx']);
    expect(readFileSync(output, 'utf8')).toBe(OLD);
  });
});
