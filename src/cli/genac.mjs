#!/usr/bin/env node
// The command `genac`: runs the compiled main.js if it is in the same folder, as in a wheel; else
// TypeScript through tsx.
import { existsSync } from 'node:fs';

const compiled = new URL('./main.js', import.meta.url);
if (existsSync(compiled)) await import(compiled.href);
else {
  // tsx would cache compiled files in the shared temporary folder, where others could put theirs
  // first.
  process.env.TSX_DISABLE_CACHE = '1';
  const tsx = await import('tsx/esm/api').catch(() => null);
  if (tsx === null) {
    console.error(
      'genac: its npm packages are not installed: run `npm run setup` in the checkout first.',
    );
    process.exit(1);
  }
  // A tsconfig.json of the working directory, or above it, could replace our modules by others.
  tsx.register({ tsconfig: false });
  await import('./main.ts');
}
