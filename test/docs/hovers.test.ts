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

/** The first documented signature of each method that ends with Sync, of every exported class. */
function synchronous(): { name: string; declaration: ts.SignatureDeclaration }[] {
  const file = checker.getSymbolAtLocation(program.getSourceFile(entry)!)!;
  return checker
    .getExportsOfModule(file)
    .map(each => (each.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(each) : each))
    .filter(each => each.flags & ts.SymbolFlags.Class)
    .flatMap(each => {
      const statics = checker.getTypeOfSymbol(each).getProperties();
      const methods = checker.getDeclaredTypeOfSymbol(each).getProperties();
      return [...statics, ...methods]
        .filter(method => method.name.endsWith('Sync'))
        .map(method => ({
          name: `${each.name}.${method.name}`,
          declaration: method.declarations![0] as ts.SignatureDeclaration,
        }));
    });
}

it('every synchronous method has its parameters and errors in the hover', () => {
  const methods = synchronous();
  expect(methods.length).toBeGreaterThan(15);
  for (const { name, declaration } of methods) {
    const tags = ts.getJSDocTags(declaration);
    const described = tags.filter(ts.isJSDocParameterTag).map(tag => tag.name.getText());
    const parameters = declaration.parameters.map(each => each.name.getText());
    expect(described, name).toEqual(parameters);
    expect(tags.map(tag => tag.tagName.text).includes('throws'), `${name} tells its errors`).toBe(true);
  }
});
