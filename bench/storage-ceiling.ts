import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { BlobServiceClient } from '@azure/storage-blob';
import { TableClient } from '@azure/data-tables';
import { openReplicaStore } from '../providers/azure-storage/replica-store.js';
import { openTableStateTable } from '../providers/azure-storage/state-table.js';
import { openTransferStore } from '../providers/azure-storage/transfer-store.js';
import { uploadBlocks } from '../providers/azure-storage/upload.js';
import { startAzurite } from '../test/support/azurite.js';
import { InMemoryCloudInventory } from '../test/support/in-memory/cloud-inventory.js';

const mib = 1024 * 1024;
const blockBytes = 4 * mib;
const smallBytes = 64 * 1024;
const smallCountMax = 1000;
const fence = { epoch: 1, cycle: 0 };

/** What the storage service itself takes, by the SDK alone: what no code of ours can beat in the same run. */
export interface StorageCeiling {
  /** MB/s by the number of requests at once. */
  uploadPages: Record<1 | 4 | 16, number>;
  stageBlock: Record<1 | 4 | 16, number>;
  /** MB/s of pages of 64 KiB, as scattered small writes come. */
  uploadSmallPages: Record<4, number>;
  /** Rows a second. */
  tableInserts: Record<1 | 16, number>;
}

/** Measures Azurite in about ten seconds. `megabytes` is what each step moves. */
export async function measureCeiling(
  azurite: { readonly connectionString: string },
  megabytes = 256,
): Promise<StorageCeiling> {
  const service = BlobServiceClient.fromConnectionString(azurite.connectionString);
  const container = service.getContainerClient(`ceiling-${randomBytes(4).toString('hex')}`);
  await container.create();
  const data = randomBytes(blockBytes);
  const count = Math.ceil(megabytes / 4);
  try {
    const pages = container.getPageBlobClient('pages');
    await pages.create(count * blockBytes);
    const smallPages = container.getPageBlobClient('small-pages');
    await smallPages.create(count * blockBytes);
    const small = randomBytes(smallBytes);
    const smallCount = Math.min(smallCountMax, (count * blockBytes) / smallBytes);
    const writeSmall = (index: number) => smallPages.uploadPages(small, index * smallBytes, smallBytes);
    const writePage = (index: number) => pages.uploadPages(data, index * blockBytes, blockBytes);
    const blocks = container.getBlockBlobClient('blocks');
    const stage = (index: number) =>
      blocks.stageBlock(Buffer.from(String(index).padStart(8, '0')).toString('base64'), data, blockBytes);
    const tableName = `ceiling${randomBytes(4).toString('hex')}`;
    const table = TableClient.fromConnectionString(azurite.connectionString, tableName, {
      allowInsecureConnection: true,
    });
    await table.createTable();
    const row = 'x'.repeat(300);
    const insert = (prefix: string) => (index: number) =>
      table.createEntity({ partitionKey: 'p', rowKey: `${prefix}-${index}`, text: row });
    const rate = async (atOnce: number, step: (index: number) => Promise<unknown>) =>
      (count * blockBytes) / 1e6 / (await secondsOf(count, atOnce, step));
    try {
      return {
        uploadPages: { 1: await rate(1, writePage), 4: await rate(4, writePage), 16: await rate(16, writePage) },
        uploadSmallPages: { 4: (smallCount * smallBytes) / 1e6 / (await secondsOf(smallCount, 4, writeSmall)) },
        stageBlock: { 1: await rate(1, stage), 4: await rate(4, stage), 16: await rate(16, stage) },
        tableInserts: {
          1: rowCount / (await secondsOf(rowCount, 1, insert('one'))),
          16: rowCount / (await secondsOf(rowCount, 16, insert('many'))),
        },
      };
    } finally {
      await table.deleteTable();
    }
  } finally {
    await container.delete();
  }
}

const rowCount = 500;

/** The ceiling, and beside it what our stores reach in the same run. */
export async function benchStorage(print: (line: string) => void): Promise<void> {
  const azurite = await startAzurite();
  try {
    const ceiling = await measureCeiling(azurite);
    const inventory = InMemoryCloudInventory.ofAzurite(azurite);
    const storageAccountId = (await inventory.storageAccounts())[0]?.armId ?? '';
    const replicas = await openReplicaStore({ inventory });
    const transfers = openTransferStore({ inventory });
    const table = openTableStateTable({ connectionString: azurite.connectionString });
    const data = randomBytes(blockBytes);
    const count = 64;
    const line = (name: string, value: number, unit: string, limit?: number) =>
      print(
        `${name.padEnd(44)} ${value.toFixed(0).padStart(6)} ${unit}` +
          (limit === undefined ? '' : `  ${((value / limit) * 100).toFixed(0)}% of the SDK's ${limit.toFixed(0)}`),
      );
    const speed = async (atOnce: number, bytes: number, steps: number, step: (index: number) => Promise<unknown>) =>
      (steps * bytes) / 1e6 / (await secondsOf(steps, atOnce, step));

    const disk = { storageAccountId, container: 'bench', blobName: 'disk' };
    await replicas.createDisk(disk, count * blockBytes + 512);
    await replicas.raiseFence(disk, fence);
    for (const atOnce of [1, 4, 16] as const) {
      const write = (index: number) => replicas.writePages(disk, index * blockBytes, data, fence);
      const found = await speed(atOnce, blockBytes, count, write);
      line(`write pages of 4 MiB, ${atOnce} at once`, found, 'MB/s', ceiling.uploadPages[atOnce]);
    }
    for (const [bytes, atOnce] of [
      [4 * mib, 1],
      [8 * mib, 1],
      [8 * mib, 4],
    ] as const) {
      const steps = (count * blockBytes) / bytes;
      const read = (index: number) => replicas.readPages(disk, index * bytes, bytes);
      line(`read pages of ${bytes / mib} MiB, ${atOnce} at once`, await speed(atOnce, bytes, steps, read), 'MB/s');
    }
    for (const atOnce of [1, 4, 16] as const) {
      const url = async () => (await transfers.grantUpload(storageAccountId, `bench-${atOnce}`, 600)).url;
      const from = performance.now();
      const chunks = repeated(data, count);
      const { lengthBytes } = await uploadBlocks({
        url: await url(),
        renew: url,
        chunks,
        blockBytes,
        concurrency: atOnce,
      });
      const found = lengthBytes / 1e6 / ((performance.now() - from) / 1000);
      line(`upload blocks of 4 MiB with MD5, ${atOnce} at once`, found, 'MB/s', ceiling.stageBlock[atOnce]);
    }
    for (const atOnce of [1, 16] as const) {
      const insert = (index: number) =>
        table.transact('bench', [{ kind: 'insert', rowKey: `${atOnce}-${index}`, value: { text: 'x'.repeat(300) } }]);
      const found = rowCount / (await secondsOf(rowCount, atOnce, insert));
      line(`rows inserted, ${atOnce} at once`, found, 'rows/s', ceiling.tableInserts[atOnce]);
    }
    const hundred = (index: number) =>
      table.transact(
        'bench',
        Array.from({ length: 100 }, (_, row) => ({ kind: 'insert' as const, rowKey: `t-${index}-${row}`, value: row })),
      );
    line('rows in transactions of 100, 1 at once', (20 * 100) / (await secondsOf(20, 1, hundred)), 'rows/s');
    const get = (index: number) => table.get('bench', `1-${index}`);
    line('rows read by key, 16 at once', rowCount / (await secondsOf(rowCount, 16, get)), 'rows/s');

    await scattered(print, line, async (rangeCount) => {
      const sparse = { storageAccountId, container: 'bench', blobName: `sparse-${rangeCount}` };
      await replicas.createDisk(sparse, rangeCount * 128 * 1024);
      await replicas.raiseFence(sparse, fence);
      const page = randomBytes(64 * 1024);
      const write = (index: number) => replicas.writePages(sparse, index * 128 * 1024, page, fence);
      const writeSeconds = await secondsOf(rangeCount, 16, write);
      const from = performance.now();
      let found = 0;
      for await (const _ of replicas.allocatedRanges(sparse)) found++;
      if (found !== rangeCount) throw new Error(`${found} ranges listed, ${rangeCount} were written`);
      return { writesPerSecond: rangeCount / writeSeconds, listMs: performance.now() - from };
    });
  } finally {
    await azurite.stop();
  }
}

async function scattered(
  print: (line: string) => void,
  line: (name: string, value: number, unit: string) => void,
  measure: (rangeCount: number) => Promise<{ writesPerSecond: number; listMs: number }>,
): Promise<void> {
  for (const rangeCount of [500, 4000]) {
    const { writesPerSecond, listMs } = await measure(rangeCount);
    line(`scattered writes of 64 KiB, ${rangeCount} ranges`, writesPerSecond, '1/s');
    print(`${`allocated ranges listed, ${rangeCount} ranges`.padEnd(44)} ${listMs.toFixed(0).padStart(6)} ms`);
  }
}

async function* repeated(data: Buffer, count: number): AsyncIterable<Buffer> {
  for (let index = 0; index < count; index++) yield data;
}

/** Runs the steps 0 … count − 1, `atOnce` at a time. */
async function secondsOf(count: number, atOnce: number, step: (index: number) => Promise<unknown>): Promise<number> {
  const from = performance.now();
  let next = 0;
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (next < count) await step(next++);
    }),
  );
  return (performance.now() - from) / 1000;
}
