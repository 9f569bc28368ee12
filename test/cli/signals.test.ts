/** What a signal leaves of a command, and what it shows meanwhile. */
import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { main } from '../../lib/cli/main';
import { Progress } from '../../lib/cli/progress';
import { cliModel } from '../support/cli-model';

const model = cliModel();
const { folder } = model;

describe('a signal', () => {
  it.each([
    [
      'bench',
      ['bench', '--vocab', '3000', '--size', '64'],
      /^method +positions/m,
      /after [1-9]\d* of 12 lines/,
    ],
    [
      'verify',
      ['verify', 'model', '--positions', '1000000'],
      /^positions +[\d,]+ over 97 tokens$/m,
      /after [\d,]+ of 1,000,000 positions/,
    ],
  ])('leaves what %s has done', async (_, [name, ...more], table, where) => {
    const controller = new AbortController();
    const text = { stdout: '', stderr: '' };
    const stream = (to: 'stdout' | 'stderr') =>
      new Writable({
        write(part, _encoding, done) {
          text[to] += part;
          // When the progress says that something is done.
          if (/[1-9][\d,]* of/.test(text.stderr)) controller.abort('SIGINT');
          done();
        },
      });
    const streams = { stdout: stream('stdout'), stderr: Object.assign(stream('stderr'), { isTTY: true }) };
    const args = [name, ...more.map(each => (each === 'model' ? folder.path('model') : each))];
    expect(await main(args, streams, controller.signal)).toBe(130);
    expect(text.stderr).toMatch(where);
    expect(text.stdout).toMatch(table);
  });
});

it('progress is cut to the terminal', () => {
  const seen: string[] = [];
  const stderr = new Writable({
    write(text, _encoding, done) {
      seen.push(String(text));
      done();
    },
  });
  const progress = new Progress(
    { stderr: Object.assign(stderr, { isTTY: true, columns: 30 }) },
    1e6,
    'positions',
  );
  progress.update(5);
  progress.end();
  expect(seen[0].startsWith('\r\x1b[K')).toBe(true);
  expect([...seen[0].slice(4)].length).toBe(29);
});
