/** Wrong command lines, wrong files, help: what is said, where, and the exit code. */
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { VERSION } from '../../lib/version';
import { bytesOf } from '../support/bytes';
import { lmhead } from '../support/command';
import { temporaryFolder } from '../support/folders';
import { npy } from '../support/npy';
import { someNumbers } from '../support/numbers';
import { packageFolder } from '../support/processes';
import { floats, safetensors } from '../support/safetensors';

const V = 11;
const D = 4;
const folder = temporaryFolder();
let file: string;
let h: string;
let t: string;

beforeAll(() => {
  file = folder.file(
    'head.safetensors',
    safetensors([floats('lm_head.weight', [V, D], someNumbers(V * D, 1))]),
  );
  h = folder.file('h.npy', npy('<f4', [2, D], bytesOf(someNumbers(2 * D, 2))));
  t = folder.file('t.npy', npy('<i8', [2], bytesOf(BigInt64Array.of(1n, 2n))));
});

const COMMANDS = [
  ...[
    'info',
    'verify',
    'topk',
    'sample',
    'score',
    'lens',
    'nearest',
    'diff',
    'quantize',
    'convert',
    'cut',
    'bench',
  ],
];
const ALL = COMMANDS.join(', ');

describe('help', () => {
  it.each([[['--help']], [['-h']], [['help']]])('%j lists the commands', async args => {
    const { code, stdout, stderr } = await lmhead(args);
    expect([code, stderr]).toEqual([0, '']);
    for (const name of COMMANDS) expect(stdout).toMatch(new RegExp(`^  ${name} `, 'm'));
    expect(stdout).toContain('Examples:');
    expect(stdout).toContain('Exit code: 0 done; 1 ');
    expect(stdout).toContain('130 stopped by Ctrl-C.');
  });

  it.each(COMMANDS)('%s --help shows options and examples', async name => {
    const { code, stdout } = await lmhead([name, '--help']);
    expect(code).toBe(0);
    expect(stdout).toContain(`Usage: lmhead ${name} `);
    expect(stdout).toContain('--json');
    expect(stdout).toMatch(new RegExp(`Examples:\n  lmhead ${name} `));
    expect(Math.max(...stdout.split('\n').map(line => line.length))).toBeLessThanOrEqual(132);
    expect((await lmhead(['help', name])).stdout).toBe(stdout);
  });

  it('without arguments is shown, and is no success', async () => {
    const { code, stdout } = await lmhead([]);
    expect(code).toBe(2);
    expect(stdout).toContain('Usage: lmhead');
  });

  it.each(['--version', '-v'])('%s', async flag => {
    expect(await lmhead([flag])).toEqual({ code: 0, stdout: `${VERSION}\n`, stderr: '' });
  });
});

describe('a wrong command line', () => {
  it.each<[string, string[], string]>([
    ['an unknown command', ['rank'], `'rank': want one of ${ALL}`],
    ['a name of every object', ['constructor'], "'constructor': want one of"],
    ['help for an unknown command', ['help', 'rank'], `'rank': want one of ${ALL}`],
    ['help for a name of every object', ['help', 'constructor'], "'constructor': want one of"],
    [
      'a misspelled command of more letters',
      ['quantise', 'x'],
      `'quantise': want one of ${ALL}; did you mean quantize?;`,
    ],
    ['one head where two are wanted', ['diff', 'x', '--hidden', 'h'], 'diff: want a second file, OTHER'],
    ['three', ['diff', 'x', 'y', 'z', '--hidden', 'h'], "diff: got the operand 'z' too many"],
    ['nothing to be near', ['nearest', 'x'], 'nearest: got none; want one of --id, --token, --hidden'],
    [
      'two things to be near',
      ['nearest', 'x', '--id', '1', '--token', 'a'],
      'nearest: got --id and --token; want one of --id, --token, --hidden',
    ],
    [
      'a limit of one',
      ['nearest', 'x', '--id', '1', '--limit', '1'],
      'nearest: got --limit and --id; want it',
    ],
    [
      'a limit of nothing',
      ['quantize', 'x', '--limit', '1'],
      'quantize: got --limit without --hidden; want both',
    ],
    [
      'a limit of 0',
      ['topk', 'x', '--hidden', 'h', '--limit', '0'],
      "--limit: got '0'; want an integer from 1 to",
    ],
    [
      'a dtype of another command',
      ['quantize', 'x', '--dtype', 'bf16'],
      "--dtype: got 'bf16'; want i8, q8_0",
    ],
    [
      'a share above 1',
      ['sample', 'x', '--hidden', 'h', '--top-p', '2'],
      "--top-p: got '2'; want a number from 0 to 1",
    ],
    [
      'a temperature below 0',
      ['sample', 'x', '--hidden', 'h', '--temperature=-1'],
      "--temperature: got '-1'; want a number of at least 0",
    ],
    ['a file and a shape', ['bench', 'x', '--vocab', '9'], 'bench: got FILE and --vocab; want one of them'],
    [
      'hidden states and a number of random ones',
      ['verify', 'x', '--hidden', 'h', '--positions', '2'],
      'verify: got --hidden and --positions; want one of them',
    ],
    ['nowhere to write to', ['convert', 'x'], 'convert: want --output HEAD.safetensors'],
    [
      'an output of another kind',
      ['convert', 'x', '-o', 'y.gguf'],
      'convert: got --output y.gguf; want a name that ends in .safetensors',
    ],
    [
      'tokens for a comparison that is not made',
      ['cut', 'x.onnx', '--positions', '4'],
      'cut: got --positions without --verify; want both',
    ],
    [
      'two kinds of tokens',
      ['cut', 'x', '--verify', '--inputs', 'i', '--positions', '4'],
      'cut: got --inputs and --positions; want one of them',
    ],
    [
      'a dtype that nothing is converted to',
      ['convert', 'x', '-o', 'y.safetensors', '--dtype', 'q4_k'],
      "--dtype: got 'q4_k'; want f32, f16, bf16, i8, q8_0",
    ],
    ['no file', ['info'], 'info: want a FILE'],
    ['two files', ['info', 'a', 'b'], "info: got the operand 'b' too many"],
    ['no hidden states', ['topk', 'x'], 'topk: want --hidden H.npy'],
    ['no targets', ['score', 'x', '--hidden', 'h.npy'], 'score: want --targets T.npy'],
    ['an unknown option', ['info', 'x', '--fast'], "info: Unknown option '--fast'"],
    [
      'an option of another command',
      ['info', 'x', '-k', '3'],
      "info: Unknown option '-k'; want one of --tensor,",
    ],
    ['a misspelled option', ['topk', 'x', '--hiden', 'h'], "topk: Unknown option '--hiden'; want --hidden;"],
    [
      'an option as the library writes it',
      ['score', 'x', '--ignoreIndex=3'],
      "score: Unknown option '--ignoreIndex'; want --ignore-index;",
    ],
    [
      'an option like none',
      ['topk', 'x', '--top-k', '3'],
      "topk: Unknown option '--top-k'; want one of --hidden, -k,",
    ],
    ['a misspelled command', ['topK', 'x'], `'topK': want one of ${ALL}; did you mean topk?;`],
    [
      'an option for a value',
      ['topk', 'x', '--hidden', '--json'],
      "topk: Option '--hidden' argument missing;",
    ],
    [
      'an option without its value',
      ['topk', 'x', '--hidden'],
      "topk: Option '--hidden <value>' argument missing",
    ],
    ['a switch with a value', ['info', 'x', '--json=1'], "info: Option '--json' does not take an argument"],
    ['no number', ['topk', 'x', '--hidden', 'h', '-k', 'ten'], "--k: got 'ten'; want an integer from 1 to"],
    ['an empty number', ['topk', 'x', '--hidden', 'h', '-k', ''], "--k: got ''; want an integer"],
    ['a fraction', ['info', 'x', '--threads', '1.5'], "--threads: got '1.5'; want an integer from 1 to 1024"],
    [
      'a temperature of 0',
      ['topk', 'x', '--hidden', 'h', '--temperature', '0'],
      "--temperature: got '0'; want a number above 0",
    ],
    [
      'an unknown backend',
      ['info', 'x', '--backend', 'gpu'],
      "--backend: got 'gpu'; want auto, native, reference",
    ],
  ])('%s', async (_, args, message) => {
    const { code, stdout, stderr } = await lmhead(args);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr.startsWith(`lmhead: ${message}`)).toBe(true);
    expect(stderr).toMatch(/^[^\n]*; lmhead --help shows how\n$/);
  });
});

it('a file for a command', async () => {
  const { code, stderr } = await lmhead([file]);
  expect([code, stderr]).toEqual([
    2,
    `lmhead: '${file}': want one of ${COMMANDS.join(', ')}; lmhead info ${file} says what that holds; lmhead --help shows how\n`,
  ]);
});

describe('a wrong file', () => {
  const wrong = async (args: string[], code: string, words: string) => {
    const output = await lmhead(args);
    expect(output.code).toBe(1);
    expect(output.stdout).toBe('');
    expect(output.stderr).toMatch(new RegExp(`^lmhead: ERR_LMHEAD_${code}: [^\n]*\n$`));
    expect(output.stderr).toContain(words);
  };

  it('of weights', async () => {
    await wrong(['info', folder.path('absent')], 'IO', 'absent');
    await wrong(
      ['info', folder.file('text.safetensors', 'this is no file of weights')],
      'FORMAT',
      'text.safetensors',
    );
    await wrong(['verify', file, '--tensor', 'other'], 'TENSOR', 'other');
  });

  it.each(['info', 'verify', 'bench'])('that is broken, or a folder without weights, of %s', async name => {
    const cut = folder.file('cut.safetensors', readFileSync(file).subarray(0, -4));
    await wrong([name, cut], 'FORMAT', 'cut.safetensors: the file has been cut short');
    const text = folder.file('text/notes.txt', 'Some notes of mine.');
    await wrong([name, text], 'FORMAT', 'notes.txt: it is a text file, which begins with "Some notes');
    await wrong(
      [name, folder.path('text')],
      'IO',
      'has no weights in it, only notes.txt; want a folder with',
    );
    const broken = folder.file('broken/model.gguf', 'GGUF\x03');
    await wrong([name, broken], 'FORMAT', 'model.gguf: it is cut short');
    await wrong([name, folder.path('broken')], 'FORMAT', 'model.gguf: it is cut short');
    folder.file('config/model.safetensors', readFileSync(file));
    folder.file('config/config.json', '{"model_type":');
    await wrong([name, folder.path('config')], 'FORMAT', 'config.json: it has');
  });

  it('of hidden states', async () => {
    const topk = (path: string) => ['topk', file, '--hidden', path];
    await wrong(topk(folder.path('absent.npy')), 'IO', 'hidden: ');
    await wrong(topk(folder.path('.')), 'IO', 'is a folder; want a .npy file');
    await wrong(topk(file), 'FORMAT', 'NUMPY');
    await wrong(topk(t), 'DTYPE', 't.npy is I64; want float32');
    const wide = folder.file('wide.npy', npy('<f4', [2, D + 1], new Uint8Array(8 * (D + 1))));
    await wrong(topk(wide), 'SHAPE', 'wide.npy is [2,5]; want [n,4]');
    const deep = folder.file('deep.npy', npy('<f4', [2, 2, D], new Uint8Array(16 * D)));
    await wrong(topk(deep), 'SHAPE', 'deep.npy is [2,2,4]; want [n,4] or [1,n,4]');
    const columns = folder.file('columns.npy', npy('<f4', [2, D], new Uint8Array(8 * D), { fortran: true }));
    await wrong(topk(columns), 'FORMAT', 'column by column');
    await wrong([...topk(h), '-k', '12'], 'RANGE', 'k: got 12');
    const nan = folder.file('nan.npy', npy('<f4', [1, D], bytesOf(new Float32Array(D).fill(Number.NaN))));
    await wrong(topk(nan), 'NAN', 'NaN');
  });

  it('of targets', async () => {
    const score = (path: string) => ['score', file, '--hidden', h, '--targets', path];
    await wrong(score(folder.path('absent.npy')), 'IO', 'targets: ');
    await wrong(score(h), 'DTYPE', 'h.npy is F32; want integers');
    const three = folder.file('three.npy', npy('<i8', [3], new Uint8Array(24)));
    await wrong(score(three), 'SHAPE', 'three.npy is [3]; want [2]');
    const large = folder.file('large.npy', npy('<i8', [2], bytesOf(BigInt64Array.of(1n, 11n))));
    await wrong(score(large), 'RANGE', '11');
    const negative = folder.file('negative.npy', npy('<i8', [2], bytesOf(BigInt64Array.of(-1n, 1n))));
    await wrong(score(negative), 'RANGE', '-1');
  });
});

it('random weights that fit nowhere are an error', async () => {
  const { code, stderr } = await lmhead(['bench', '--vocab', '4294967295', '--size', '4294967295']);
  expect(code).toBe(1);
  expect(stderr).toMatch(/^lmhead: ERR_LMHEAD_MEMORY: weights: \d+ elements do not fit into memory[^\n]*\n$/);
});

describe('the program', () => {
  const program = join(packageFolder, 'dist/cli/index.js');

  it('prints to the right streams and ends with the right code', () => {
    const run = (...args: string[]) => spawnSync(process.execPath, [program, ...args], { encoding: 'utf8' });
    expect(run('--version')).toMatchObject({ status: 0, stdout: `${VERSION}\n`, stderr: '' });
    expect(run('topk', file)).toMatchObject({ status: 2, stdout: '' });
    const { status, stdout, stderr } = run('score', file, '--hidden', h, '--targets', t, '--json');
    expect([status, stderr]).toEqual([0, '']);
    expect(JSON.parse(stdout)).toMatchObject({ positions: 2, count: 2 });
  });

  it('says each warning once, in a line', () => {
    folder.file('warned/model.safetensors', readFileSync(file));
    folder.file(
      'warned/config.json',
      JSON.stringify({ model_type: 'mystery', hidden_size: D, vocab_size: V }),
    );
    const run = (env: NodeJS.ProcessEnv) =>
      spawnSync(process.execPath, [program, 'info', folder.path('warned')], {
        encoding: 'utf8',
        env: { ...process.env, ...env },
      });
    expect(run({}).stderr).toMatch(/^lmhead: warning: config\.json: models of type "mystery" [^\n]*\n$/);
    expect(run({ NODE_NO_WARNINGS: '1' }).stderr).toBe('');
  });

  it.skipIf(process.platform === 'win32')('ends quietly when its reader goes', async () => {
    const n = 20_000;
    const path = folder.file('long.npy', npy('<f4', [n, D], bytesOf(someNumbers(n * D, 3))));
    const child = spawn(process.execPath, [program, 'topk', file, '--hidden', path, '--json']);
    let said = '';
    child.stderr.on('data', chunk => {
      said += chunk;
    });
    child.stdout.once('data', () => child.stdout.destroy());
    const code = await new Promise(resolve => child.on('close', resolve));
    expect([code, said]).toEqual([0, '']);
  });
});
