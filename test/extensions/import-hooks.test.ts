/** Which files of a user are ES modules, and which are CommonJS. */
import { expect, it } from 'vitest';
import { isModule } from '../../src/extensions/import-hooks.mjs';

const modules = [
  "import x from 'genac';",
  '"use strict";import x from "genac"',
  '/* a */ export default 1;',
  '#!/usr/bin/env node\nexport const a = 1;',
  'const a = 1; export { a };',
  'function f() {} export default f;',
  "const t = `\nexport a\n`;\nimport 'genac';",
  'const quoted = /["`]/;\nexport const a = 1;',
  'await 1;\nexport const a = 1;',
];
const others = [
  "// export\nconst os = require('os');",
  '/*\nexport PATH before\nimport that\n*/\nmodule.exports = 1;',
  "const t = `\nimport x\nexport y\n`;\nmodule.exports = t + '; export ' + \"; import 'a'\";",
  "#!/usr/bin/env node\nrequire('os');",
  "module.exports = async () =>\n  import('genac');",
  'const exported = 1;\nconst importance = { export: 1, import: 2 };\nreturn;',
  '',
];

it.each(modules)('%j is a module', (text) => {
  for (const typed of [true, false]) expect(isModule(text, typed)).toBe(true);
});
it.each(others)('%j is none', (text) => {
  for (const typed of [true, false]) expect(isModule(text, typed)).toBe(false);
});
it('types change nothing of it', () => {
  expect(isModule('const a: number = 1;\nexport const b: string = `a`;', true)).toBe(true);
  expect(isModule('type A = 1; // export\nmodule.exports = 1 as A;', true)).toBe(false);
});
