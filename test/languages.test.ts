/** What C++ and TypeScript have to name alike, and in the same order. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { RowParameter } from '../lib/backend/backend';
import { ACTIVATIONS } from '../lib/dtypes/quantized-activations';
import { ROW_FORMATS } from '../lib/dtypes/row-format';
import { STAGES } from '../lib/pass/sampling-stages';

const root = join(__dirname, '..');
const text = (path: string) => readFileSync(join(root, path), 'utf8').replace(/\/\/.*$/gm, '');
const snake = (name: string) => name.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`);

/** The one piece of a text that an expression's first group finds. */
function piece(of: string, expression: RegExp): string {
  const found = [...of.matchAll(new RegExp(expression, `${expression.flags}g`))];
  expect(found.length, String(expression)).toBe(1);
  return found[0][1];
}
const listed = (text: string) =>
  text
    .split(',')
    .map(each => each.trim())
    .filter(each => each !== '');
const names = (list: string) => list.match(/\w+/g)!;

const core = readdirSync(join(root, 'native/core'), { recursive: true, encoding: 'utf8' })
  .filter(name => /\.(cc|h)$/.test(name))
  .map(name => text(join('native/core', name)))
  .join('\n');
const addon = text('native/addon/request.cc');
const passArguments = text('lib/backend/pass-arguments.ts');

it('row parameters', () => {
  const { count, ...columns } = RowParameter;
  expect(core).toMatch(new RegExp(`kRowParameters = ${count};`));
  const body = piece(core, /RowSampling parse_row\(const double\* p\) \{([\s\S]*?)^\}/m);
  const read = body.split(';').flatMap(statement => {
    // One field of several words, or a field for each.
    const field = statement
      .match(/row\.([\w.]+) =/)?.[1]
      .replace('stream.number', 'stream')
      .replace('stream.first_id', 'first_id');
    return [...statement.matchAll(/p\[(\d+)\]/g)].map(([, at]) => [Number(at), field] as const);
  });
  const fields = new Map(read);
  expect([...fields.keys()].sort((a, b) => a - b)).toEqual(Object.values(columns));
  for (const [name, at] of Object.entries(columns)) {
    const isOfStream = ['seedLow', 'seedHigh', 'step'].includes(name);
    expect(fields.get(at), name).toBe(isOfStream ? 'stream' : snake(name));
  }
});

it('stages', () => {
  const stages = names(piece(core, /enum class Stage : uint8_t \{([^}]*)\}/));
  expect(stages).toEqual(['none', ...STAGES.map(snake)]);
  const packed = STAGES.reduce((all, _, i) => all | (BigInt(i + 1) << BigInt(4 * i)), 0n);
  expect(BigInt(piece(core, /kDefaultOrder = (0x[0-9A-F]+);/))).toBe(packed);
});

it('dtypes, metrics, activations', () => {
  const values = (name: string) =>
    names(piece(core, new RegExp(`enum class ${name} : uint8_t \\{([^}]*)\\}`)).replace(/= \d+/g, ''));
  expect(values('Dtype')).toEqual(Object.keys(ROW_FORMATS));
  expect(values('Metric')).toEqual(['logit', 'dot', 'cosine']);
  expect(passArguments).toContain('METRIC_CODE: Record<Metric, number> = { dot: 1, cosine: 2 }');
  expect(values('Activations')).toEqual(ACTIVATIONS);
});

it('arguments of a pass, in their order', () => {
  const given = listed(piece(passArguments, /function requestArguments[\s\S]*?return \[([^\]]*)\]/));
  expect(text('native/addon/request.h')).toMatch(new RegExp(`kRequestArguments = ${given.length};`));
  const body = piece(addon, /RequestValues request_values\([^)]*\* next\) \{([\s\S]*?)^\}/m);
  const read = [...piece(body, /:\s*\{([^}]*)\}\)/).matchAll(/&v\.(\w+)/g)].map(([, name]) => name);
  const others = [...body.matchAll(/\*next(?:\+\+)?(?:, "(\w+)"\)| != nullptr)/g)];
  expect(read.length + others.length).toBe(given.length);
  read.forEach((name, i) => {
    const [, object, field] = given[i].match(/^(\w+)\??\.(\w+)$/)!;
    const alike = [snake(field), `${object}_${snake(field)}`];
    expect(alike, `argument ${i}: ${given[i]}`).toContain(name);
  });
  expect(given.slice(read.length)).toEqual([
    'job.adjustments',
    'job.candidates && true',
    'rareArguments(job)',
  ]);
  expect(others.map(([, name]) => name)).toEqual(['adjustments', undefined, 'request']);
});

it('arguments of a small pass, in the same order', () => {
  const given = listed(piece(passArguments, /function requestArguments[\s\S]*?return \[([^\]]*)\]/));
  const small = text('lib/backend/small-passes.ts').replace(/copied\(([^,]*),[^)]*\)/g, '$1');
  const calls = [
    ...small.matchAll(/head\.run\(\s*n,\s*hidden,\s*dtype,([^()]*(?:\([^()]*\)[^()]*)*)\)/g),
  ].map(([, all]) => listed(all));
  expect(calls.map(({ length }) => length).sort((a, b) => b - a)).toEqual([given.length, 5, 1]);
  for (const call of calls)
    call.forEach((argument, i) => {
      const [, object, field = object] = given[i].match(/^(\w+)(?:\??\.|\()(\w+)/)!;
      const joined = object === 'job' ? field : object + field[0].toUpperCase() + field.slice(1);
      const alike = [`SMALL.${joined}`, given[i], field, 'rare'];
      expect(
        alike.some(each => new RegExp(`(^|\\W)${each.replace(/\W/g, '\\$&')}(\\W|$)`).test(argument)),
        argument,
      ).toBe(true);
    });
});

it('arguments that few passes have, by name', () => {
  const given = piece(passArguments, /function rareArguments[\s\S]*?return \{([^}]*)\}/)
    .split(',')
    .map(entry => entry.trim().split(':')[0])
    .filter(name => name !== '');
  const read = [...addon.matchAll(/call\.property\(more, "(\w+)"\)/g)].map(([, name]) => name);
  expect(read).toEqual(given);
});
