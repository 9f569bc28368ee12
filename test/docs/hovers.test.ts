/** What an editor shows of the public functions and methods: parameters, results and errors, of synchronous forms too. */
import { join } from 'node:path';
import ts from 'typescript';
import { expect, it } from 'vitest';

const lib = join(__dirname, '../../lib');
const entry = join(lib, 'index.ts');
const program = ts.createProgram([entry], {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.Node16,
  types: ['node'],
  skipLibCheck: true,
});
const checker = program.getTypeChecker();

/** What is not private, symbolic, or for the package alone. */
const isPublic = (
  declaration: ts.Declaration,
): declaration is ts.FunctionDeclaration | ts.MethodDeclaration =>
  ts.isFunctionDeclaration(declaration) ||
  (ts.isMethodDeclaration(declaration) && ts.isIdentifier(declaration.name));

/** The first documented signature of each function and of each method of a class that is exported. */
function signatures(): { name: string; declaration: ts.SignatureDeclaration }[] {
  const file = checker.getSymbolAtLocation(program.getSourceFile(entry)!)!;
  return checker
    .getExportsOfModule(file)
    .map(each => (each.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(each) : each))
    .flatMap(each => {
      if (each.flags & ts.SymbolFlags.Function) return [{ name: each.name, symbol: each }];
      if (!(each.flags & ts.SymbolFlags.Class)) return [];
      const statics = checker.getTypeOfSymbol(each).getProperties();
      const methods = checker.getDeclaredTypeOfSymbol(each).getProperties();
      return [...statics, ...methods].map(symbol => ({ name: `${each.name}.${symbol.name}`, symbol }));
    })
    .flatMap(({ name, symbol }) => {
      const declaration = symbol.declarations?.find(isPublic);
      return declaration ? [{ name, declaration }] : [];
    });
}

it('every function and method has its parameters in the hover, and synchronous ones their errors', () => {
  const all = signatures();
  expect(all.length).toBeGreaterThan(50);
  for (const { name, declaration } of all) {
    const tags = ts.getJSDocTags(declaration);
    const described = tags.filter(ts.isJSDocParameterTag).map(tag => tag.name.getText().split('.')[0]);
    const parameters = declaration.parameters.map(each => each.name.getText());
    expect([...new Set(described)], name).toEqual(parameters);
    if (name.endsWith('Sync'))
      expect(tags.map(tag => tag.tagName.text).includes('throws'), `${name} tells its errors`).toBe(true);
  }
  expect(all.filter(({ name }) => name.endsWith('Sync')).length).toBeGreaterThan(15);
});
