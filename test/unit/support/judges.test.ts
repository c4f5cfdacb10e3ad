import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { compareImages, judge, sampleDisks } from '../../support/judges.js';

test('compareImages tells equal images from different ones, over formats', async (t) => {
  await judge(t, 'qemu-img', async (program) => {
    const folder = await mkdtemp(join(tmpdir(), 'understudy-judges-'));
    try {
      const raw = join(folder, 'a.raw');
      const vhd = join(folder, 'a,b.vhd');
      // 5 MiB is not a whole number of CHS cylinders.
      await writeFile(raw, Buffer.alloc(5 * 1024 * 1024, 'guest'));
      execFileSync(program, ['convert', '-f', 'raw', '-O', 'vpc', '-o', 'subformat=fixed,force_size=on', raw, vhd]);
      await compareImages({ path: raw, format: 'raw' }, { path: vhd, format: 'vpc' });
      await writeFile(raw, Buffer.alloc(5 * 1024 * 1024, 'other'));
      await assert.rejects(compareImages({ path: raw, format: 'raw' }, { path: vhd, format: 'vpc' }), /differ/);
      await writeFile(raw, Buffer.alloc(6 * 1024 * 1024, 'guest'));
      await assert.rejects(compareImages({ path: raw, format: 'raw' }, { path: vhd, format: 'vpc' }), /bytes/);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

test('a missing judge is said and passed, and fails where judges are required', async () => {
  const said: string[] = [];
  const reporter = { diagnostic: (message: string) => said.push(message) };
  const before = process.env.UNDERSTUDY_SAMPLE_DISKS;
  try {
    delete process.env.UNDERSTUDY_SAMPLE_DISKS;
    assert.equal(sampleDisks(), undefined);
    await judge(reporter, 'sample-disks', () => assert.fail('there is no judge to call'));
    assert.match(said.join(), /judge missed: sample-disks/);
  } finally {
    if (before !== undefined) process.env.UNDERSTUDY_SAMPLE_DISKS = before;
  }
});
