import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openFileReader, openFileWriter } from '../../../providers/local-files/random-access-file.js';

async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-'));
  try {
    await body(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

test('a file gives back what was written, gaps as zeros, and knows its length', () =>
  withFolder(async (folder) => {
    const path = join(folder, 'disk');
    const writer = await openFileWriter(path, { mode: 'create' });
    await writer.write(10, Buffer.from('hello'));
    assert.equal(writer.lengthBytes, 15);
    await writer.resize(20);
    await writer.flush();
    await writer.close();
    const reader = await openFileReader(path);
    assert.equal(reader.lengthBytes, 20);
    assert.deepEqual(
      await reader.read(0, 20),
      Buffer.concat([Buffer.alloc(10), Buffer.from('hello'), Buffer.alloc(5)]),
    );
    await reader.close();
  }));

test('a read past the end of a file is an error that names file and offset, never a short buffer', () =>
  withFolder(async (folder) => {
    const path = join(folder, 'short');
    const writer = await openFileWriter(path, { mode: 'create' });
    await writer.write(0, Buffer.alloc(100));
    await assert.rejects(writer.read(90, 20), {
      code: 'US2001',
      message: /short ends too early: 20 bytes wanted at offset 90, 10 found/,
    });
    await writer.close();
  }));

test('mode "create" refuses a file that is there already', () =>
  withFolder(async (folder) => {
    const path = join(folder, 'disk');
    await (await openFileWriter(path, { mode: 'create' })).close();
    await assert.rejects(openFileWriter(path, { mode: 'create' }), { code: 'EEXIST' });
  }));
