/** What a save finds under its name, and what the killed ones before it left. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { replaceFile, replaceFileSync } from '../../lib/head/replace-file';
import { isAbandoned, temporaryName } from '../../lib/head/temporary-names';
import { rejectsKind, throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { makeHead, V } from '../support/heads';
import { PREAMBLE, packageFolder, runNode } from '../support/processes';

const posix = process.platform !== 'win32';
const linux = process.platform === 'linux';
const root = process.getuid?.() === 0;
const folder = temporaryFolder();
const head = makeHead('reference');

/** Both ways to save, each onto what `make` makes. */
const ways: [name: string, save: (path: string) => Promise<void>][] = [
  ['save', path => head.save(path)],
  ['saveSync', async path => head.saveSync(path)],
];

let folders = 0;
/** The path of a name in a folder that nothing else is in. */
function fresh(name: string): string {
  const its = join(folder.path(), String(folders++));
  mkdirSync(its);
  return join(its, name);
}

const mode = (path: string) => statSync(path).mode & 0o7777;
const opens = (path: string) => LMHead.openSync(path, { backend: 'reference' }).vocabSize === V;
const temporaries = (path: string) => readdirSync(path).filter(name => name.endsWith('.tmp'));

describe.each(ways)('%s', (_, save) => {
  describe.runIf(posix)('onto what is no regular file', () => {
    it('a pipe', async () => {
      const path = fresh('pipe');
      execFileSync('mkfifo', [path]);
      await rejectsKind(() => save(path), 'IO', path, 'is a pipe', 'want a regular file');
      expect(lstatSync(path).isFIFO()).toBe(true);
      const link = join(dirname(path), 'link');
      symlinkSync('pipe', link);
      await rejectsKind(() => save(link), 'IO', link, 'is a pipe');
      expect(readdirSync(dirname(path)).sort()).toEqual(['link', 'pipe']);
    });

    it('a device', async () => {
      await rejectsKind(() => save('/dev/null'), 'IO', '/dev/null is a device');
      expect(lstatSync('/dev/null').isCharacterDevice()).toBe(true);
      const link = fresh('null');
      symlinkSync('/dev/null', link);
      await rejectsKind(() => save(link), 'IO', 'is a device');
    });

    it('a socket', async () => {
      const path = fresh('socket');
      const server = createServer();
      await new Promise<void>(done => server.listen(path, done));
      await rejectsKind(() => save(path), 'IO', 'is a socket');
      expect(lstatSync(path).isSocket()).toBe(true);
      await new Promise(done => server.close(done));
    });

    it('a folder', async () => {
      const path = fresh('folder');
      mkdirSync(path);
      for (const name of [path, `${path}/`, dirname(path)]) {
        await rejectsKind(() => save(name), 'IO', 'is a folder');
      }
      expect(readdirSync(dirname(path))).toEqual(['folder']);
    });
  });

  describe.runIf(posix)('keeps', () => {
    it.each(['600', '640', '664', '444', '755', '777', '000'])('mode %s', async digits => {
      const bits = Number.parseInt(digits, 8);
      const path = fresh('m.safetensors');
      writeFileSync(path, 'x');
      chmodSync(path, bits);
      await save(path);
      expect(mode(path)).toBe(bits);
      chmodSync(path, 0o600);
      expect(opens(path)).toBe(true);
    });

    it('no right to become another user', async () => {
      const path = fresh('m.safetensors');
      writeFileSync(path, 'x');
      chmodSync(path, 0o6755);
      await save(path);
      expect(mode(path)).toBe(0o755);
    });

    it.runIf(root)('owner and group', async () => {
      const path = fresh('m.safetensors');
      writeFileSync(path, 'x');
      chmodSync(path, 0o640);
      chownSync(path, 12_345, 23_456);
      await save(path);
      expect(statSync(path)).toMatchObject({ uid: 12_345, gid: 23_456 });
      expect(mode(path)).toBe(0o640);
    });

    it('the file under its other names as it was', async () => {
      const path = fresh('m.safetensors');
      writeFileSync(path, 'x');
      linkSync(path, `${path}.other`);
      await save(path);
      expect(readFileSync(`${path}.other`, 'utf8')).toBe('x');
    });
  });

  it.runIf(posix)('gives a new file the mode that the process gives to new files', async () => {
    const [path, other] = [fresh('m.safetensors'), fresh('other')];
    writeFileSync(other, '');
    await save(path);
    expect(mode(path)).toBe(mode(other));
  });

  describe.runIf(posix)('through a link', () => {
    /** @returns what was written, as a path in the link's folder; the link is there still */
    async function through(target: string, setUp: (at: string) => void): Promise<string[]> {
      const link = fresh('link');
      setUp(dirname(link));
      symlinkSync(target, link);
      await save(link);
      expect(readlinkSync(link)).toBe(target);
      expect(opens(link)).toBe(true);
      const below = readdirSync(dirname(link), { recursive: true, withFileTypes: true });
      return below
        .filter(entry => entry.isFile())
        .map(entry => join(entry.parentPath, entry.name).slice(dirname(link).length + 1));
    }

    it('to a file', async () => {
      const written = await through('m', at => writeFileSync(join(at, 'm'), 'x', { mode: 0o600 }));
      expect(written).toEqual(['m']);
    });

    it('to nothing yet', async () => {
      expect(await through('m', () => {})).toEqual(['m']);
    });

    it('to a file of another folder, through a link, above a link to a folder', async () => {
      const written = await through('one/two', at => {
        mkdirSync(join(at, 'a/b'), { recursive: true });
        symlinkSync('a/b', join(at, 'one'));
        symlinkSync('../m', join(at, 'a/b/two'));
      });
      expect(written).toEqual(['a/m']);
      const above = await through('one/../m', at => {
        mkdirSync(join(at, 'a/b'), { recursive: true });
        symlinkSync('a/b', join(at, 'one'));
      });
      expect(above).toEqual(['a/m']);
    });

    it('to an absolute path', async () => {
      const path = fresh('m');
      expect(await through(path, () => {})).toEqual([]);
      expect(opens(path)).toBe(true);
    });

    it('into no folder, or to itself, is refused', async () => {
      const [none, loop] = [fresh('none'), fresh('loop')];
      symlinkSync('gone/m', none);
      symlinkSync('loop', loop);
      await rejectsKind(() => save(none), 'IO', none, 'cannot be written', 'ENOENT');
      await rejectsKind(() => save(loop), 'IO', loop, 'cannot be written', 'ELOOP');
    });
  });

  it
    .runIf(posix)
    .each([
      [1, 'x'],
      ...[200, 237, 238, 240, 254, 255].map(length => [length, 'x'] as [number, string]),
      [127, 'ä'],
      [85, '語'],
    ] as [number, string][])('takes a name of %i × %s', async (length, character) => {
    const name = character.repeat(length);
    const path = fresh(name);
    await save(path);
    await save(path);
    expect(readdirSync(dirname(path))).toEqual([name]);
    expect(opens(path)).toBe(true);
  });

  it.runIf(posix)('refuses a name of 256 bytes before it writes', async () => {
    const path = fresh('x'.repeat(256));
    await rejectsKind(() => save(path), 'IO', 'ENAMETOOLONG');
    expect(readdirSync(dirname(path))).toEqual([]);
  });
});

describe('while it is written', () => {
  /** Replaces `path`, and calls `look` with the temporary file's path before the last piece. */
  function* pieces(path: string, look: (temporary: string) => void): Generator<Uint8Array> {
    yield Buffer.from('ab');
    look(join(dirname(path), temporaries(dirname(path))[0]));
    yield Buffer.from('cd');
  }

  it.runIf(posix)("a private file's new contents are private", () => {
    const path = fresh('m');
    writeFileSync(path, 'x');
    chmodSync(path, 0o604);
    const seen: number[] = [];
    replaceFileSync(
      path,
      pieces(path, temporary => seen.push(mode(temporary))),
    );
    expect([seen, mode(path), readFileSync(path, 'utf8')]).toEqual([[0o600], 0o604, 'abcd']);
  });

  it.runIf(posix)('a pipe that takes the name is not replaced', async () => {
    const path = fresh('m');
    const made = pieces(path, () => execFileSync('mkfifo', [path]));
    await rejectsKind(() => replaceFile(path, made), 'IO', 'is a pipe');
    expect(lstatSync(path).isFIFO()).toBe(true);
    expect(temporaries(dirname(path))).toEqual([]);
  });

  it('what fails leaves the file that was there, and nothing else', async () => {
    const path = fresh('m');
    writeFileSync(path, 'x');
    const failing = () =>
      pieces(path, () => {
        throw new Error('no more');
      });
    expect(() => replaceFileSync(path, failing())).toThrow('no more');
    await expect(replaceFile(path, failing())).rejects.toThrow('no more');
    expect(readdirSync(dirname(path))).toEqual(['m']);
    expect(readFileSync(path, 'utf8')).toBe('x');
  });
});

describe('temporary names', () => {
  const own = temporaryName();

  it('are short, and never the same', () => {
    expect(Buffer.byteLength(own)).toBeLessThanOrEqual(64);
    expect(temporaryName()).not.toBe(own);
  });

  it('are abandoned when their process has ended', () => {
    const { pid } = spawnSync(process.execPath, ['-e', '']);
    const of = (id: number, start: string) => own.replace(/-\d+-[0-9a-f]{8}-/, `-${id}-${start}-`);
    expect(isAbandoned(own)).toBe(false);
    expect(isAbandoned(of(pid, '12345678'))).toBe(true);
    expect(isAbandoned(of(process.ppid, '00000000'))).toBe(linux); // another that had its id
    if (linux) expect(isAbandoned(of(process.pid, '12345678'))).toBe(true);
    // Of another machine, or not made here.
    expect(isAbandoned(of(pid, '12345678').replace(/^\.lmhead-./, '.lmhead-g'))).toBe(false);
    const first = own[8] === '0' ? '1' : '0';
    expect(isAbandoned(`${of(pid, '12345678').slice(0, 8)}${first}${of(pid, '12345678').slice(9)}`)).toBe(
      false,
    );
    for (const name of ['', '.tmp', `${own}x`, `x${own}`, own.slice(1), of(pid, '123')]) {
      expect(isAbandoned(name)).toBe(false);
    }
  });
});

describe.runIf(posix)('a process that saves', () => {
  const entry = join(packageFolder, 'dist/index.js');
  /** Writes the first half of a file, and waits. */
  const half = `
    const { replaceFileSync } = require(${JSON.stringify(join(packageFolder, 'dist/head/replace-file.js'))});
    function* pieces() {
      yield Buffer.from('x');
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    }
    replaceFileSync(process.argv[1], pieces());`;

  it.each(ways)('and is killed leaves a file that the next %s removes', async (_, save) => {
    const path = fresh('m.safetensors');
    const lookalikes = ['.lmhead-0-1-2-3.tmp', '.m.safetensors.0123456789ab.tmp', 'x.tmp'];
    for (const name of lookalikes) writeFileSync(join(dirname(path), name), '');
    const others = () => temporaries(dirname(path)).filter(name => !lookalikes.includes(name));
    const child = spawn(process.execPath, ['-e', half, path], { stdio: 'inherit' });
    const ended = new Promise(done => child.on('exit', done));
    while (others().length === 0) {
      expect(child.exitCode).toBe(null);
      await new Promise(done => setTimeout(done, 5));
    }
    const left = others();
    await save(`${path}.other`); // while its process lives
    expect(others()).toEqual(left);
    child.kill('SIGKILL');
    await ended;
    await save(`${path}.other`);
    expect(readdirSync(dirname(path)).sort()).toEqual([...lookalikes, 'm.safetensors.other'].sort());
    expect(opens(`${path}.other`)).toBe(true);
  });

  it('without room says so, and leaves what was there', () => {
    const path = fresh('m.safetensors');
    writeFileSync(path, 'x');
    const code = `${PREAMBLE}
      const head = LMHead.from(new Float32Array(1e6), { vocabSize: 1e4, hiddenSize: 100 });
      const said = error => console.log(error instanceof LMHeadError, error.code, error.message);
      try { head.saveSync(process.env.TARGET); } catch (error) { said(error); }
      head.save(process.env.TARGET).catch(said);`;
    const { status, stdout, stderr } = spawnSync(
      'sh',
      ['-c', 'ulimit -f 1000; exec "$0" -e "$1"', process.execPath, code],
      { encoding: 'utf8', env: { ...process.env, LMHEAD_ENTRY: entry, TARGET: path } },
    );
    expect([status, stderr]).toEqual([0, '']);
    const lines = stdout.trim().split('\n');
    expect(lines.length).toBe(2);
    for (const line of lines) expect(line).toMatch(/^true ERR_LMHEAD_IO .*EFBIG.*want room for all of it$/);
    expect(readFileSync(path, 'utf8')).toBe('x');
    expect(readdirSync(dirname(path))).toEqual(['m.safetensors']);
  });

  it.runIf(root && linux)('as another user, gives the group that it is not in no more than everyone', () => {
    const path = fresh('m.safetensors');
    for (let at = dirname(path); at !== '/'; at = dirname(at)) {
      if (at.startsWith(folder.path())) chmodSync(at, 0o777);
    }
    writeFileSync(path, 'x');
    chmodSync(path, 0o660);
    const code = `${PREAMBLE}
      process.setgroups([]); process.setegid(23456); process.seteuid(12345);
      LMHead.from(new Float32Array(6), { vocabSize: 3, hiddenSize: 2 }).saveSync(process.env.TARGET);`;
    const { status, stderr } = runNode(code, { env: { TARGET: path } });
    expect([status, stderr]).toEqual([0, '']);
    expect(statSync(path)).toMatchObject({ uid: 12_345, gid: 23_456 });
    expect(mode(path)).toBe(0o600);
    expect(existsSync(path)).toBe(true);
  });
});

it.runIf(posix)('a name below a file is refused', () => {
  const path = fresh('file');
  writeFileSync(path, 'x');
  throwsKind(() => head.saveSync(join(path, 'm')), 'IO', 'cannot be written', 'ENOTDIR');
});
