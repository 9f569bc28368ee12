/** How the binary is found, and what is said where it is not. In copies of the built package, in processes of their own. */
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { currentLibc } from '../../lib/backend/libc';
import { VERSION } from '../../lib/version';
import { PREAMBLE, packageFolder, runNode } from '../support/processes';

const binary = join(packageFolder, 'build/Release/lmhead.node');
const libc = currentLibc();
const platform = `${process.platform}-${process.arch}`;
const prebuilt = join('prebuilds', platform, libc ? `lmhead.${libc}.node` : 'lmhead.node');

let folder: string;
beforeAll(() => {
  folder = join(mkdtempSync(join(tmpdir(), 'lmhead-loading-')), 'lmhead');
  cpSync(join(packageFolder, 'dist'), join(folder, 'dist'), { recursive: true });
  cpSync(join(packageFolder, 'package.json'), join(folder, 'package.json'));
});
afterAll(() => rmSync(dirname(folder), { recursive: true }));
afterEach(() => {
  for (const name of readdirSync(folder))
    if (name !== 'dist' && name !== 'package.json') rmSync(join(folder, name), { recursive: true });
});

function put(place: string, content: Buffer | string) {
  const file = join(folder, place);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
}

function run(code: string, env: NodeJS.ProcessEnv = {}) {
  return runNode(PREAMBLE + code, { from: join(folder, 'dist/index.js'), env });
}

/** What `backend: 'native'` throws. */
function failure(env: NodeJS.ProcessEnv = {}): { code: string; message: string; cause?: string } {
  const { stdout, stderr } = run(
    `try {
       LMHead.from(new Float32Array(6), { vocabSize: 3, hiddenSize: 2, backend: 'native' });
       console.log(JSON.stringify({ code: 'none' }));
     } catch (error) {
       const { code, message, cause } = error;
       console.log(JSON.stringify({ code, message, cause: cause && String(cause) }));
     }`,
    env,
  );
  expect(stderr).toBe('');
  return JSON.parse(stdout);
}

describe('loading', () => {
  it('knows the version that package.json states', () => {
    const stated = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8')) as {
      version: string;
    };
    expect(VERSION).toBe(stated.version);
  });

  it.each([['build/Release/lmhead.node'], [prebuilt]])('takes %s', place => {
    put(place, readFileSync(binary));
    const { stdout, stderr } = run(
      `console.log(capabilities().available.length > 0, LMHead.from(new Float32Array(6), { vocabSize: 3, hiddenSize: 2 }).backend,
         Object.keys(require.cache).filter(file => file.endsWith('.node')).join());`,
    );
    expect(stderr).toBe('');
    expect(stdout).toBe(`true native ${join(folder, place)}\n`);
  });

  it('takes a build of one’s own before what came with the package, and the latter where the former fails', () => {
    put('build/Release/lmhead.node', 'from another system');
    put(prebuilt, readFileSync(binary));
    expect(failure().code).toBe('none');
  });

  it('takes the file that LMHEAD_BINARY names, and no other', () => {
    expect(failure({ LMHEAD_BINARY: binary }).code).toBe('none');
    put(prebuilt, readFileSync(binary));
    const { code, message } = failure({ LMHEAD_BINARY: join(folder, 'absent.node') });
    expect(code).toBe('ERR_LMHEAD_LOAD');
    expect(message.match(/^- .*not there$/gm)).toEqual([`- ${join(folder, 'absent.node')}: not there`]);
    expect(message).toContain('LMHEAD_BINARY names the one file that is tried');
  });

  it.each([
    ['native', {}, 'ERR_LMHEAD_LOAD'],
    ['native', { backend: 'auto' }, 'ERR_LMHEAD_LOAD'],
    ['native', { backend: 'reference' }, 'reference'],
    ['reference', {}, 'reference'],
    ['reference', { backend: 'native' }, 'ERR_LMHEAD_LOAD'],
    ['fast', {}, 'ERR_LMHEAD_RANGE'],
  ])('LMHEAD_BACKEND=%s, options %o, no binary: %s', (LMHEAD_BACKEND, options, expected) => {
    const { stdout, stderr } = run(
      `let said;
       try { said = LMHead.from(new Float32Array(6), { vocabSize: 3, hiddenSize: 2, ...${JSON.stringify(options)} }).backend; }
       catch (error) { said = error.code; }
       console.log(said);`,
      { LMHEAD_BACKEND },
    );
    expect([stdout, stderr]).toEqual([`${expected}\n`, '']);
  });

  it('LMHEAD_BACKEND names itself where it is wrong', () => {
    const { stdout } = run(
      `try { lmhead.topKOf(new Float32Array(3), 3, 1); } catch (error) { console.log(error.message); }`,
      { LMHEAD_BACKEND: 'fast' },
    );
    expect(stdout).toBe(`LMHEAD_BACKEND: got "fast"; want 'auto' or 'native' or 'reference'\n`);
  });

  it('without any binary says which files it tried, and what to do', () => {
    const { code, message, cause } = failure();
    expect(code).toBe('ERR_LMHEAD_LOAD');
    expect(cause).toBeUndefined();
    const lines = message.split('\n');
    expect(lines[0]).toBe(
      `no native binary of lmhead could be loaded for ${[platform, libc].filter(Boolean).join(' ')}, Node.js ${process.versions.node}. Tried:`,
    );
    expect(lines[1]).toBe(`- ${join(folder, 'build/Release/lmhead.node')}: not there`);
    expect(lines[2]).toBe(`- ${join(folder, prebuilt)}: not there`);
    expect(lines[3]).toBe('What to do:');
    expect(message).toContain('npm run build:from-source');
    expect(message).toContain("backend 'reference'");
  });

  it('names the systems that it has binaries for', () => {
    put('prebuilds/plan9-mips/lmhead.node', '');
    put('prebuilds/linux-riscv64/lmhead.musl.node', '');
    put('prebuilds/linux-riscv64/README', '');
    expect(failure().message).toMatch(
      /the package has binaries for (linux-riscv64 musl, plan9-mips|plan9-mips, linux-riscv64 musl); this system needs its own/,
    );
  });

  it('says that a file is damaged', () => {
    put(prebuilt, 'no binary at all, but long enough to be one'.repeat(100));
    const { code, message, cause } = failure();
    expect(code).toBe('ERR_LMHEAD_LOAD');
    expect(message).toContain(`- ${join(folder, prebuilt)}: `);
    expect(message).not.toMatch(/lmhead\.\w*\.?node: not there\n.*lmhead\.\w*\.?node: not there/);
    expect(message).toContain('the file is damaged or of another system');
    expect(cause).toMatch(/^Error: /);
  });

  // The loader's own words for these are known on Linux.
  describe.skipIf(libc !== 'glibc')('on Linux', () => {
    function changed(from: string, to: string): Buffer {
      const bytes = readFileSync(binary);
      const at = bytes.indexOf(`${from}\0`);
      expect(at).toBeGreaterThan(0);
      bytes.write(to, at);
      return bytes;
    }

    it('says that glibc is too old', () => {
      const version = /GLIBC_2\.\d+/.exec(readFileSync(binary, 'latin1'))![0];
      put(prebuilt, changed(version, version.replace('_2', '_9')));
      const { message } = failure();
      expect(message).toContain(`version \`${version.replace('_2', '_9')}' not found`);
      expect(message).toContain('run on a system with glibc 2.28 or newer');
    });

    it('says which library is missing', () => {
      put(prebuilt, changed('libgcc_s.so.1', 'libgcc_s.so.9'));
      const { message } = failure();
      expect(message).toContain('libgcc_s.so.9: cannot open shared object file');
      expect(message).toContain('apk add libgcc libstdc++');
    });

    it('says that the runtime lacks a function', () => {
      put(prebuilt, changed('napi_create_promise', 'napi_create_prXmise'));
      const { message } = failure();
      expect(message).toContain('undefined symbol: napi_create_prXmise');
      expect(message).toContain('a runtime with Node-API 8');
    });

    it('says that a binary is for another CPU', () => {
      const bytes = readFileSync(binary);
      bytes.writeUInt16LE(243, 18); // RISC-V
      put(prebuilt, bytes);
      put('build/Release/lmhead.node', bytes);
      const { message, cause } = failure();
      expect(message.match(/: not there/g)).toBeNull();
      expect(message.match(/damaged or of another system/g)).toHaveLength(1);
      expect(cause).toMatch(/^AggregateError/);
    });
  });

  it("computes with the reference under 'auto', and says so once", () => {
    const { status, stdout, stderr } = run(
      `const warnings = [];
       process.on('warning', ({ name, code, message }) => warnings.push([name, code, message]));
       for (let i = 0; i < 3; i++) {
         const head = LMHead.from(new Float32Array([1, 2, 3, 4, 5, 6]), { vocabSize: 3, hiddenSize: 2 });
         console.log(head.backend, head.argmaxSync(new Float32Array([1, 1]))[0]);
       }
       lmhead.softmax(new Float32Array(3), 3);
       const { isa, available, version, napi } = capabilities();
       console.log(isa, available.length, version, napi);
       setImmediate(() => console.log(JSON.stringify(warnings)));`,
    );
    expect(status).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    expect(lines.slice(0, 4)).toEqual([
      'reference 2',
      'reference 2',
      'reference 2',
      `reference 0 ${VERSION} 0`,
    ]);
    const warnings = JSON.parse(lines[4]) as [string, string, string][];
    expect(warnings).toHaveLength(1);
    expect(warnings[0].slice(0, 2)).toEqual(['LMHeadWarning', 'LMHEAD_REFERENCE']);
    expect(warnings[0][2]).toContain('could be loaded');
    expect(stderr.match(/LMHeadWarning/g)).toHaveLength(1);
  });

  it("throws LOAD under 'native' each time, and goes on with the reference", () => {
    const { stdout } = run(
      `const weight = new Float32Array(6), sizes = { vocabSize: 3, hiddenSize: 2 };
       for (let i = 0; i < 2; i++) {
         try { LMHead.from(weight, { ...sizes, backend: 'native' }); } catch ({ code }) { console.log(code); }
       }
       console.log(LMHead.from(weight, { ...sizes, backend: 'reference' }).backend);`,
    );
    expect(stdout).toBe('ERR_LMHEAD_LOAD\nERR_LMHEAD_LOAD\nreference\n');
  });
});

it('the binary under test is there', () => {
  expect(existsSync(binary)).toBe(true);
});
