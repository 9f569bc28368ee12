import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { expect, it } from 'vitest';

const native = join(__dirname, '../native');
const lists = JSON.parse(readFileSync(join(native, 'sources.json'), 'utf8')) as Record<string, string[]>;

/** Lines of a file, about; whoever needs more has two things in one room. */
const LONGEST = 420;

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

/** The addon's files by name, without comments. */
const addonFiles = Object.fromEntries(
  readdirSync(join(native, 'addon'))
    .filter(name => /\.(cc|h)$/.test(name))
    .map(name => [name, readFileSync(join(native, 'addon', name), 'utf8').replace(/\/\/.*$/gm, '')]),
);

it('Node.js enters the addon by callbacks.h alone, where every C++ exception ends', () => {
  const registers =
    /napi_(create_function|define_class|wrap|add_finalizer|set_instance_data|create_threadsafe_function|add_\w*cleanup_hook|create_external\w*|create_async_work|module_register)\b/;
  const users = Object.keys(addonFiles).filter(name => registers.test(addonFiles[name]));
  expect(users).toEqual(['callbacks.h']);
  const callbacks = addonFiles['callbacks.h'];
  const section = callbacks.slice(
    callbacks.indexOf('namespace callbacks {'),
    callbacks.indexOf('napi_value make_function('),
  );
  const functions = section.match(/^\w[\w ]*\(.*\{$/gm)!;
  expect(functions.length).toBeGreaterThan(3);
  for (const signature of functions) expect(signature).toContain(') noexcept {');
  // Of node-addon-api: what makes values, and registers the module.
  const byOtherWays =
    /Napi::(Function|ObjectWrap|InstanceWrap|\w*ThreadSafeFunction|Async\w+|External|Addon)\b|AddFinalizer|AddCleanupHook|SetInstanceData/;
  for (const text of Object.values(addonFiles)) expect(text).not.toMatch(byOtherWays);
});

it('the addon runs callers’ code by Call::property and Call::element alone, which refuse once arrays are taken', () => {
  const runs =
    /napi_(get_property|get_named_property|get_element|get_all_property_names|has_\w+|set_\w*property|set_element|call_function|coerce_to_(string|number|object)|instanceof|run_script|strict_equals)\b/g;
  const uses = Object.entries(addonFiles).flatMap(([name, text]) =>
    (text.match(runs) ?? []).map(use => `${name} ${use}`),
  );
  const byNodeAddonApi =
    /\.(Get|Set|Has|Delete|Call|New|ToString|ToNumber|ToObject|GetPropertyNames|InstanceOf)\(/;
  for (const text of Object.values(addonFiles)) expect(text).not.toMatch(byNodeAddonApi);
  // The first is for the constructors that are taken when the addon is loaded.
  expect(uses).toEqual([
    'addon.cc napi_get_named_property',
    'arguments.cc napi_get_element',
    'arguments.cc napi_get_named_property',
  ]);
});

it('kernels use no function of GCC that region.h does not have for MSVC', () => {
  const kernels = join(native, 'core/kernels');
  const known = readFileSync(join(kernels, 'generic/region.h'), 'utf8').match(/(?<=#define )__builtin_\w+/g);
  const used = readdirSync(kernels, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile() && !entry.name.startsWith('neon')) // which MSVC does not compile
    .flatMap(entry => readFileSync(join(entry.parentPath, entry.name), 'utf8').match(/__builtin_\w+/g) ?? []);
  expect(used.length).toBeGreaterThan(0);
  expect([...new Set(used)].filter(name => !known?.includes(name))).toEqual([]);
});

/** The files below a folder with one of these endings, as paths from the root. */
function filesOf(folder: string, endings: RegExp): string[] {
  return readdirSync(join(native, '..', folder), { recursive: true, encoding: 'utf8' })
    .map(name => join(folder, name))
    .filter(name => endings.test(name));
}
const textOf = (path: string) => readFileSync(join(native, '..', path), 'utf8');

it('no file is long', () => {
  const files = [
    ...['lib', 'test'].flatMap(folder => filesOf(folder, /\.[cm]?[jt]s$/)),
    ...filesOf('native', /\.(cc|h|inc)$/),
  ];
  const long = files.filter(path => textOf(path).split('\n').length > LONGEST);
  expect(files.length).toBeGreaterThan(400);
  expect(long).toEqual([]);
});

it('no modules import each other in a circle', () => {
  const modules = filesOf('lib', /\.ts$/);
  const imports = new Map(
    modules.map(path => {
      // Those of types alone are gone at run time.
      const specifiers = textOf(path).matchAll(/^(?:import|export)\s+(?!type\b)[^;]*?'(\.[^']*)'/gm);
      const paths = Array.from(specifiers, ([, specifier]) => join(path, '..', specifier));
      return [
        path,
        paths.flatMap(to => [`${to}.ts`, join(to, 'index.ts')]).filter(to => modules.includes(to)),
      ];
    }),
  );
  expect([...imports.values()].flat().length).toBeGreaterThan(200);
  const done = new Set<string>();
  const circles: string[][] = [];
  const walk = (path: string, way: string[]) => {
    if (way.includes(path)) circles.push([...way.slice(way.indexOf(path)), path]);
    if (done.has(path) || way.includes(path)) return;
    for (const to of imports.get(path)!) walk(to, [...way, path]);
    done.add(path);
  };
  for (const path of modules) walk(path, []);
  expect(circles).toEqual([]);
});

it('CONTRIBUTING names files that there are', () => {
  const paths = textOf('CONTRIBUTING.md').match(/(?<=`)(native|lib|test|docs|scripts)\/[\w./-]+(?=`)/g)!;
  expect(paths.length).toBeGreaterThan(40);
  expect(paths.filter(path => !existsSync(join(native, '..', path)))).toEqual([]);
});
