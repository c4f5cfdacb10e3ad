import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import type { TransferStore } from '../../../core/ports/transfer-store.js';
import { errorWithCode } from './error-code.js';

/** What every TransferStore keeps. `put` uploads as a relay does. */
export function transferStoreConformance(
  name: string,
  open: () => Promise<{
    store: TransferStore;
    storageAccountId: string;
    put: (blobName: string, data: Buffer) => Promise<{ etag: string; lengthBytes: number }>;
  }>,
): void {
  const check = (
    behaviour: string,
    body: (subject: Awaited<ReturnType<typeof open>>, folder: string) => Promise<void>,
  ): void => {
    test(`${name}: ${behaviour}`, async () => body(await open(), randomUUID()));
  };
  const namesBelow = async (store: TransferStore, account: string, prefix: string): Promise<string[]> => {
    const names: string[] = [];
    for await (const found of store.listBelow(account, prefix)) names.push(found);
    return names;
  };

  check('what was announced reads back, in any ranges', async ({ store, storageAccountId, put }, folder) => {
    const data = randomBytes(3 * 1024 * 1024 + 17);
    const announced = await put(`${folder}/log`, data);
    assert.equal(announced.lengthBytes, data.length);
    assert.deepEqual(await store.stat(storageAccountId, `${folder}/log`), announced);
    const reader = store.openReader(storageAccountId, `${folder}/log`, announced);
    assert.equal(reader.lengthBytes, data.length);
    const ranges = [
      [0, data.length],
      [0, 1],
      [data.length - 17, 17],
      [123_457, 1_000_001],
      [5, 0],
    ] as const;
    await Promise.all(
      ranges.map(async ([from, length]) => {
        assert((await reader.read(from, length)).equals(data.subarray(from, from + length)));
      }),
    );
    await assert.rejects(reader.read(data.length - 1, 2), RangeError);
    await assert.rejects(reader.read(-1, 2), RangeError);
  });

  check('a log that was uploaded again, cut or deleted is not taken for the announced one', async (subject, folder) => {
    const { store, storageAccountId, put } = subject;
    const blobName = `${folder}/log`;
    const announced = await put(blobName, Buffer.alloc(1000, 1));
    const again = await put(blobName, Buffer.alloc(1000, 1));
    assert.notEqual(again.etag, announced.etag);
    const stale = store.openReader(storageAccountId, blobName, announced);
    await assert.rejects(stale.read(0, 10), errorWithCode('US3011'));
    const longer = store.openReader(storageAccountId, blobName, { ...again, lengthBytes: 2000 });
    await assert.rejects(longer.read(1500, 100), errorWithCode('US3011'));
    await store.deleteBelow(storageAccountId, blobName);
    const gone = store.openReader(storageAccountId, blobName, again);
    await assert.rejects(gone.read(0, 10), errorWithCode('US3011'));
  });

  check('what is put once stays as it was written first', async ({ store, storageAccountId }, folder) => {
    const blobName = `${folder}/once`;
    assert.deepEqual(await store.putOnce(storageAccountId, blobName, Buffer.from('first')), { written: true });
    assert.deepEqual(await store.putOnce(storageAccountId, blobName, Buffer.from('second, longer')), {
      written: false,
    });
    const found = await store.stat(storageAccountId, blobName);
    assert.equal(found?.lengthBytes, 5);
    const reader = store.openReader(storageAccountId, blobName, found);
    assert.equal((await reader.read(0, 5)).toString(), 'first');
    const { url, expiresAt } = await store.grantRead(storageAccountId, blobName, 60);
    assert(url.includes(blobName.split('/').at(-1) ?? ''));
    assert(Math.abs(Date.parse(expiresAt) - Date.now() - 60_000) < 5000);
  });

  check('an absent log has no properties', async ({ store, storageAccountId }, folder) => {
    assert.equal(await store.stat(storageAccountId, `${folder}/none`), undefined);
  });

  check('deleting below a prefix takes what is there and nothing else', async (subject, folder) => {
    const { store, storageAccountId, put } = subject;
    const inside = Array.from({ length: 12 }, (_, index) => `${folder}/a/${String(index).padStart(2, '0')}`);
    for (const blobName of [...inside, `${folder}/b/0`]) await put(blobName, Buffer.from('x'));
    assert.deepEqual(await namesBelow(store, storageAccountId, `${folder}/a/`), inside);
    assert.equal(await store.deleteBelow(storageAccountId, `${folder}/a/`), 12);
    assert.equal(await store.deleteBelow(storageAccountId, `${folder}/a/`), 0);
    assert.deepEqual(await namesBelow(store, storageAccountId, `${folder}/`), [`${folder}/b/0`]);
  });
}
