/** Where the commands take hidden states from: pipes, and how many of them. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bytesOf } from '../support/bytes';
import { cliModel, D, lastStates, N, piped, V } from '../support/cli-model';
import { jsonLines, lmhead } from '../support/command';
import { npy } from '../support/npy';
import { packageFolder } from '../support/processes';

const model = cliModel();
const { folder } = model;

describe('hidden states', () => {
  it('come from a pipe, in whatever pieces', async () => {
    for (const [descr, bytes] of [
      ['<f4', bytesOf(lastStates)],
      ['<f8', bytesOf(Float64Array.from(lastStates))],
    ] as const) {
      const expected = await lmhead(['topk', model.file, '--hidden', model.h, '--json']);
      for (const chunk of [1, 100, 100_000]) {
        const found = await piped(
          npy(descr, [1, N, D], bytes),
          ['topk', model.file, '--hidden', '-', '--json'],
          chunk,
        );
        expect(found).toEqual(expected);
      }
    }
  });

  it('of which a pipe has too few, or none', async () => {
    const cut = await piped(npy('<f4', [N, D], bytesOf(lastStates)).subarray(0, -1), [
      'topk',
      model.file,
      '--hidden',
      '-',
    ]);
    expect(cut.code).toBe(1);
    expect(cut.stderr).toMatch(
      /^lmhead: ERR_LMHEAD_IO: hidden: the standard input ended after \d+ bytes; want a whole \.npy file\n$/,
    );
    const empty = await piped(Buffer.alloc(0), ['topk', model.file, '--hidden', '-']);
    expect(empty.stderr).toContain('hidden: the standard input ended after 0 bytes');
    const wrong = await piped(npy('<f4', [N, 3], new Uint8Array(36)), ['topk', model.file, '--hidden', '-']);
    expect(wrong.stderr).toContain('hidden: the standard input is [3,3]; want [n,32] or [1,n,32]');
    const terminal = await lmhead(['topk', model.file, '--hidden', '-']);
    expect(terminal.stderr).toContain('the standard input is a terminal; want a .npy file from a pipe');
  });

  it.skipIf(process.platform === 'win32')('come from a pipe that stays open', async () => {
    const program = join(packageFolder, 'dist/cli/index.js');
    const child = spawn(process.execPath, [
      program,
      'topk',
      model.file,
      '--hidden',
      '-',
      '--json',
      '--limit',
      '2',
    ]);
    child.stdin.on('error', () => {});
    child.stdin.write(npy('<f4', [N, D], bytesOf(lastStates)));
    let lines = '';
    child.stdout.on('data', chunk => {
      lines += chunk;
    });
    expect(await new Promise(done => child.on('close', done))).toBe(0);
    expect(lines.trimEnd().split('\n')).toHaveLength(2);
  });

  it.skipIf(process.platform === 'win32')('are waited for no longer than until a signal', async () => {
    const program = join(packageFolder, 'dist/cli/index.js');
    const whole = npy('<f4', [9000, D], new Uint8Array(9000 * D * 4));
    const targets = folder.file('t.npy', npy('<i4', [9000], new Uint8Array(9000 * 4)));
    const second = spawn(process.execPath, [
      program,
      'score',
      model.file,
      '--hidden',
      '-',
      '--targets',
      targets,
      '--json',
      '--each',
    ]);
    second.stdin.write(whole.subarray(0, -8));
    let [out, err] = ['', ''];
    let asked = false;
    second.stdout.on('data', chunk => {
      out += chunk;
      // A second signal would end it at once.
      if (!asked && out.split('\n').length > 8000) asked = second.kill('SIGINT');
    });
    second.stderr.on('data', chunk => {
      err += chunk;
    });
    expect(await new Promise(done => second.on('close', done))).toBe(130);
    const [, done] = /^lmhead: stopped by SIGINT after ([\d,]+) of 9,000 positions\n$/.exec(err)!;
    const summary = JSON.parse(out.trimEnd().split('\n').at(-1)!);
    expect(summary).toMatchObject({ positions: Number(done.replace(',', '')), complete: false });
    expect(summary.nll).toBeCloseTo(Math.log(V), 5);
  });

  it('may be limited to the first', async () => {
    expect(await jsonLines(['topk', model.file, '--hidden', model.h, '--limit', '2'])).toEqual(
      (await jsonLines(['topk', model.file, '--hidden', model.h])).slice(0, 2),
    );
    const t = folder.file('limit-t.npy', npy('<i4', [N], bytesOf(Int32Array.of(1, 2, 3))));
    const [summary] = await jsonLines([
      'score',
      model.file,
      '--hidden',
      model.h,
      '--targets',
      t,
      '--limit',
      '2',
    ]);
    expect(summary).toMatchObject({ positions: 2, count: 2 });
    expect(await jsonLines(['topk', model.file, '--hidden', model.h, '--limit', '99'])).toHaveLength(N);
  });
});
