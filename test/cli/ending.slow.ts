/** How commands end: long runs in little memory, closed pipes, full disks, signals. In processes of their own. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { LMHead } from '../../lib';
import { main } from '../../lib/cli/main';
import { bytesOf } from '../support/bytes';
import { lmhead } from '../support/command';
import { temporaryFolder } from '../support/folders';
import { npy } from '../support/npy';
import { someNumbers } from '../support/numbers';
import { packageFolder } from '../support/processes';
import { floats, safetensors } from '../support/safetensors';

const [V, D, N] = [16, 2, 60_000];
vi.setConfig({ testTimeout: 240_000 });

const posix = process.platform !== 'win32';
const program = join(packageFolder, 'dist/cli/index.js');
const folder = temporaryFolder();
const files: Record<'model' | 'hidden' | 'targets' | 'short', string> = {
  model: '',
  hidden: '',
  targets: '',
  short: '',
};

beforeAll(() => {
  const weight = someNumbers(V * D, 1);
  files.model = folder.file('m.safetensors', safetensors([floats('lm_head.weight', [V, D], weight)]));
  files.hidden = folder.file('h.npy', npy('<f4', [N, D], bytesOf(someNumbers(N * D, 2))));
  const ids = Int32Array.from({ length: N }, (_, i) => i % V);
  files.targets = folder.file('t.npy', npy('<i4', [N], bytesOf(ids)));
  files.short = folder.file('short.npy', npy('<f4', [3, D], bytesOf(someNumbers(3 * D, 3))));
});

const topk = (...more: string[]) => ['topk', files.model, '--hidden', files.hidden, '-k', '10', ...more];
const score = (...more: string[]) => [
  ...['score', files.model, '--hidden', files.hidden, '--targets', files.targets],
  ...more,
];
/** Command lines with much to print. */
const long: [name: string, args: () => string[]][] = [
  ['topk', () => topk()],
  ['topk --json', () => topk('--json')],
  ['score --each', () => score('--each')],
  ['score --each --json', () => score('--each', '--json')],
];
/** And with little. */
const short: [name: string, args: () => string[]][] = [
  ['--version', () => ['--version']],
  ['--help', () => ['--help']],
  ['info', () => ['info', files.model]],
  ['verify', () => ['verify', files.model]],
  ['bench', () => ['bench', '--vocab', '20', '--size', '2']],
];
const all = [...long, ...short];

interface Ended {
  code: number | null;
  signal: string | null;
  stderr: string;
}

/** What becomes of it, and what it says meanwhile. */
function ending(child: ChildProcess): Promise<Ended> {
  let stderr = '';
  child.stderr!.on('data', chunk => {
    stderr += chunk;
  });
  return new Promise(done => child.on('close', (code, signal) => done({ code, signal, stderr })));
}

/** Runs it with the standard output in that file or device. */
function runInto(path: string, args: string[], before = ''): { status: number | null; stderr: string } {
  const { status, stderr } = spawnSync(
    'sh',
    ['-c', `${before} exec "$@" > "$OUT"`, 'sh', process.execPath, program, ...args],
    { encoding: 'utf8', env: { ...process.env, OUT: path } },
  );
  return { status, stderr };
}

describe('many positions', () => {
  it.each(long)('%s takes memory for some of them', (name, args) => {
    const out = folder.path('long.txt');
    const { status, stderr } = spawnSync(
      process.execPath,
      ['--max-old-space-size=40', '--max-semi-space-size=4', program, ...args()],
      { stdio: ['ignore', openSync(out, 'w'), 'pipe'], encoding: 'utf8' },
    );
    expect([status, stderr]).toEqual([0, '']);
    const lines = readFileSync(out, 'latin1').split('\n').length;
    const each = name.startsWith('topk') && !name.endsWith('json') ? 10 : 1;
    expect(lines - N * each).toBeGreaterThan(0);
    expect(lines - N * each).toBeLessThan(12);
  });

  it('in a table whose columns become wider', async () => {
    const tall = Float32Array.from({ length: 1200 * D }, (_, i) => (i < 1199 * D ? 1 : 1e6));
    const path = folder.file('wide.npy', npy('<f4', [1200, D], bytesOf(tall)));
    const { stdout } = await lmhead(['topk', files.model, '--hidden', path, '-k', '10']);
    const lines = stdout.trimEnd().split('\n');
    expect(lines.length).toBe(2 + 12_000);
    const widths = (from: number, to: number) => [...new Set(lines.slice(from, to).map(line => line.length))];
    const [before, ...others] = widths(1, 10_242);
    const [after, ...more] = widths(10_242, 12_002);
    expect([others, more]).toEqual([[], []]);
    expect(after).toBeGreaterThan(before);
    expect(lines[11_992].trim().split(/ +/).slice(0, 2)).toEqual(['1199', '1']);
  });

  it.runIf(posix)('reach a slow reader, every one', async () => {
    const child = spawn(process.execPath, [program, ...topk('--json')]);
    const ended = ending(child);
    let lines = 0;
    let chunks = 0;
    for await (const chunk of child.stdout) {
      for (const byte of chunk as Buffer) if (byte === 10) lines++;
      if (chunks++ % 50 === 0) await new Promise(done => setTimeout(done, 20));
    }
    expect(await ended).toEqual({ code: 0, signal: null, stderr: '' });
    expect(lines).toBe(N);
  });
});

describe.runIf(posix)('a reader that goes', () => {
  it.each(long)('ends %s quietly', async (_, args) => {
    const child = spawn(process.execPath, [program, ...args()]);
    const ended = ending(child);
    child.stdout.once('data', () => child.stdout.destroy());
    expect(await ended).toEqual({ code: 0, signal: null, stderr: '' });
  });

  it.each(all)('before there was anything, %s too', (_, args) => {
    const pipe = ['-c', '{ "$@"; echo "status $?" >&2; } | true', 'sh', process.execPath, program];
    const { stderr } = spawnSync('sh', [...pipe, ...args()], { encoding: 'utf8' });
    expect(stderr).toBe('status 0\n');
  });
});

const ROOM = /^lmhead: ERR_LMHEAD_IO: standard output: [^\n]*(?:ENOSPC|EFBIG)[^\n]*; want a place [^\n]*\n$/;

describe.runIf(process.platform === 'linux')('a full disk', () => {
  it.each(all)('is told by %s', (_, args) => {
    const { status, stderr } = runInto('/dev/full', args());
    expect(status).toBe(1);
    expect(stderr).toMatch(ROOM);
  });
});

describe.runIf(posix)('a disk that becomes full', () => {
  it.each([...long, ['help', () => ['topk', '--help']] as const])('is told by %s', (_, args) => {
    // Of what is written at once, a part fits.
    const { status, stderr } = runInto(folder.path('full.txt'), args(), 'ulimit -f 1;');
    expect(status).toBe(1);
    expect(stderr).toMatch(ROOM);
  });
});

describe.runIf(posix)('a signal', () => {
  const signals = [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const;

  it.each(signals)('%s ends a long run', async (signal, expected) => {
    for (const args of [topk(), topk('--backend', 'reference'), score('--each', '--json')]) {
      const child = spawn(process.execPath, [program, ...args]);
      const ended = ending(child);
      child.stdout.once('data', () => {
        child.stdout.resume();
        child.kill(signal);
      });
      const { code, stderr } = await ended;
      expect(code).toBe(expected);
      expect(stderr).toMatch(
        new RegExp(`^lmhead: stopped by ${signal} after [\\d,]+ of 60,000 positions\\n$`),
      );
    }
  });

  it('ends a run whose output nobody takes', async () => {
    const child = spawn(process.execPath, [program, ...topk()]);
    const ended = new Promise(done => child.on('exit', done));
    child.stdout.once('readable', () => setTimeout(() => child.kill('SIGINT'), 300));
    expect(await ended).toBe(130);
    child.stdout.destroy();
  });

  it.each([
    ['bench', ['bench', '--vocab', '2000', '--size', '64', '--json']],
    ['verify', ['verify', '', '--positions', '1000000']],
  ])('ends %s', async (_, [name, file, ...more]) => {
    const child = spawn(process.execPath, [program, name, file || files.model, ...more]);
    const ended = ending(child);
    setTimeout(() => child.kill('SIGINT'), 800);
    const { code, stderr } = await ended;
    // Before the program listens, it ends as any other.
    if (code === null) return;
    expect(code).toBe(130);
    expect(stderr).toMatch(/^lmhead: stopped by SIGINT( after [\d,]+ of [\d,]+ (lines|positions))?\n$/);
  });
});

describe('the head', () => {
  /** Output that breaks at the first write. */
  const broken = () =>
    new Writable({
      write(_chunk, _encoding, done) {
        done(Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' }));
      },
    });

  it.each<[what: string, args: () => string[], stdout: () => Writable, code: number]>([
    ['info into nothing', () => ['info', files.model], broken, 1],
    ['verify into nothing', () => ['verify', files.model], broken, 1],
    ['topk into nothing', () => topk(), broken, 1],
    ['score into nothing', () => score(), broken, 1],
    ['bench into nothing', () => ['bench', files.model, '--json'], broken, 1],
    ['topk of wrong states', () => ['topk', files.model, '--hidden', files.targets], broken, 1],
    [
      'score of wrong targets',
      () => ['score', files.model, '--hidden', files.short, '--targets', files.hidden],
      broken,
      1,
    ],
    ['topk of too many', () => ['topk', files.model, '--hidden', files.short, '-k', '99'], broken, 1],
  ])('is closed after %s', async (_, args, stdout, expected) => {
    const opened: LMHead[] = [];
    const open = LMHead.open.bind(LMHead);
    const spy = vi.spyOn(LMHead, 'open').mockImplementation(async (...given) => {
      const head = await open(...given);
      opened.push(head);
      return head;
    });
    const stderr = new Writable({ write: (_chunk, _encoding, done) => done() });
    try {
      expect(await main(args(), { stdout: stdout(), stderr })).toBe(expected);
    } finally {
      spy.mockRestore();
    }
    expect(opened.length).toBe(1);
    expect(() => opened[0].embed([0])).toThrow('closed');
  });
});
