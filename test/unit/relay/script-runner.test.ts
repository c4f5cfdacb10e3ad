import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { runScript } from '../../../relay/script-runner.js';

async function inFolder(scene: (folder: string) => Promise<void>): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'understudy-scripts-'));
  try {
    const folder = join(root, 'scripts');
    await mkdir(folder);
    await scene(folder);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

const command = (scriptName: string, timeoutSeconds = 10) =>
  ({
    kind: 'runScript',
    commandId: 'run-1',
    scriptName,
    timeoutSeconds,
    planName: 'pay; rm -rf /',
    groupId: 'Group 1',
  }) as const;
const failing = (code: string, message: RegExp) => (error: unknown) =>
  error instanceof Error && 'code' in error && error.code === code && message.test(error.message);

test('a script runs by its name, with the run’s context and nothing of the relay’s own environment', async () => {
  await inFolder(async (folder) => {
    process.env.UNDERSTUDY_SECRET_OF_TEST = 'secret';
    const text = `console.log([process.env.UNDERSTUDY_PLAN, process.env.UNDERSTUDY_GROUP, process.env.UNDERSTUDY_RUN, process.env.UNDERSTUDY_SECRET_OF_TEST].join('|'))`;
    await writeFile(join(folder, 'tell.mjs'), text);
    const { output } = await runScript(folder, command('tell.mjs'));
    delete process.env.UNDERSTUDY_SECRET_OF_TEST;
    assert.equal(output, 'pay; rm -rf /|Group 1|run-1|');
    await writeFile(join(folder, 'direct'), '#!/bin/sh\necho done\n', { mode: 0o755 });
    assert.equal((await runScript(folder, command('direct'))).output, 'done');
  });
});

test('an exit code, a timeout and too much output are failures, with the last output', async () => {
  await inFolder(async (folder) => {
    await writeFile(join(folder, 'fails.mjs'), `console.error('the share is gone'); process.exit(3);`);
    await assert.rejects(runScript(folder, command('fails.mjs')), failing('US5129', /exit code 3.*the share is gone/));
    await writeFile(join(folder, 'hangs.mjs'), `setInterval(() => {}, 1000);`);
    await assert.rejects(runScript(folder, command('hangs.mjs', 1)), failing('US5129', /did not end within 1 seconds/));
    await writeFile(join(folder, 'chatty.mjs'), `process.stdout.write('x'.repeat(2 * 1024 * 1024));`);
    await assert.rejects(runScript(folder, command('chatty.mjs')), failing('US5129', /wrote more than/));
  });
});

test('what does not lie in the folder itself is not run', async () => {
  await inFolder(async (folder) => {
    const outside = join(folder, '..', 'outside.mjs');
    await writeFile(outside, `console.log('ran')`);
    await symlink(outside, join(folder, 'link.mjs'));
    await mkdir(join(folder, 'sub'));
    for (const name of [
      '../outside.mjs',
      '/bin/sh',
      'sub',
      'absent.mjs',
      'link.mjs',
      '.hidden',
      'a b',
      'sub/x',
      '..',
    ]) {
      await assert.rejects(runScript(folder, command(name)), failing('US5128', /was not run/), name);
    }
  });
});
