#!/usr/bin/env node
// The command `genac`: TypeScript is run as it is, through tsx.
const tsx = await import('tsx/esm/api').catch(() => null);
if (tsx === null) {
  console.error('genac: its npm packages are not installed: run `npm run setup` in the checkout first.');
  process.exit(1);
}
tsx.register();
await import('./main.ts');
