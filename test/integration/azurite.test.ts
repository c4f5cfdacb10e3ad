import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TableClient } from '@azure/data-tables';
import { BlobServiceClient } from '@azure/storage-blob';
import { startAzurite } from '../support/azurite.js';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

test('Azurite keeps blobs and rows over a stop and a start in the same folder', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-azurite-test-'));
  try {
    const first = await startAzurite({ folder });
    try {
      const container = BlobServiceClient.fromConnectionString(first.connectionString).getContainerClient('kept');
      await container.create();
      await container.getBlockBlobClient('one').upload('hello', 5);
      const table = TableClient.fromConnectionString(first.connectionString, 'kept', { allowInsecureConnection: true });
      await table.createTable();
      await table.createEntity({ partitionKey: 'p', rowKey: 'r', value: 42 });
    } finally {
      await first.stop();
    }
    const second = await startAzurite({ folder, ports: first.ports });
    try {
      assert.equal(second.connectionString, first.connectionString);
      const container = BlobServiceClient.fromConnectionString(second.connectionString).getContainerClient('kept');
      assert.equal((await container.getBlockBlobClient('one').downloadToBuffer()).toString(), 'hello');
      const table = TableClient.fromConnectionString(second.connectionString, 'kept', {
        allowInsecureConnection: true,
      });
      const row = await table.getEntity('p', 'r');
      assert.equal(row.value, 42);
    } finally {
      await second.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
