/** What is published, and what README.md says of it. */
import assert from 'node:assert/strict';
import {execFileSync} from 'node:child_process';
import {mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {test} from 'node:test';
import {fileURLToPath} from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

test('the package installs and is complete', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'graf-sdk-'));
  t.after(() => rmSync(folder, {recursive: true}));
  const npm = (...argv: string[]) =>
    execFileSync('npm', argv, {cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe']});
  npm('pack', '--silent', '--pack-destination', folder, root);
  const [archive] = readdirSync(folder);
  writeFileSync(join(folder, 'package.json'), '{"type": "module"}');
  npm('install', '--offline', '--no-audit', '--no-fund', '--silent', `./${archive}`);
  const program = "import('@graf-run/graf').then((graf) => console.log(typeof graf.Container, typeof graf.Client))";
  const out = execFileSync(process.execPath, ['-e', program], {cwd: folder, encoding: 'utf8'});
  assert.equal(out, 'function function\n');
  assert.deepEqual(readdirSync(join(folder, 'node_modules', '@graf-run', 'graf', 'dist')), ['src']);
});

test('every TypeScript in README.md is from an example, which is run', () => {
  const squeeze = (text: string) => text.replace(/\s+/gu, ' ').trim();
  const examples = readdirSync(join(root, 'examples')).map((file) =>
    squeeze(readFileSync(join(root, 'examples', file), 'utf8')),
  );
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const blocks = [...readme.matchAll(/^```ts\n(.*?)^```/gmsu)].map(([, block = '']) => block);
  assert.ok(blocks.length >= 2);
  for (const block of blocks) {
    assert.ok(
      examples.some((example) => example.includes(squeeze(block))),
      `no example has:\n${block}`,
    );
  }
});

test('the lock file names no registry', () => {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, {resolved?: string; integrity?: string}>;
  };
  for (const [name, {resolved, integrity}] of Object.entries(lock.packages)) {
    assert.equal(resolved, undefined, name);
    assert.ok(name === '' || integrity !== undefined, `${name} has no integrity`);
  }
});
