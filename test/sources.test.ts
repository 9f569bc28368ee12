import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { expect, it } from 'vitest';

const native = join(__dirname, '../native');
const lists = JSON.parse(readFileSync(join(native, 'sources.json'), 'utf8')) as Record<string, string[]>;

it('sources.json lists the C++ files that there are, each once', () => {
  const present = readdirSync(native, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile() && entry.name.endsWith('.cc'))
    .map(entry => relative(join(native, '..'), join(entry.parentPath, entry.name)));
  const listed = Object.values(lists).flat();
  expect(listed.toSorted()).toEqual(present.toSorted());
});

it('core knows nothing of Node', () => {
  for (const entry of readdirSync(join(native, 'core'), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    expect(readFileSync(join(entry.parentPath, entry.name), 'utf8')).not.toMatch(
      /#include\s*[<"](node|napi|uv|v8)/,
    );
  }
});

it('kernels use no function of GCC that region.h does not have for MSVC', () => {
  const kernels = join(native, 'core/kernels');
  const known = readFileSync(join(kernels, 'generic/region.h'), 'utf8').match(/(?<=#define )__builtin_\w+/g);
  const used = readdirSync(kernels, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile() && entry.name !== 'neon.cc') // which MSVC does not compile
    .flatMap(entry => readFileSync(join(entry.parentPath, entry.name), 'utf8').match(/__builtin_\w+/g) ?? []);
  expect(used.length).toBeGreaterThan(0);
  expect([...new Set(used)].filter(name => !known?.includes(name))).toEqual([]);
});
