import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { BlobSASPermissions, BlobServiceClient } from '@azure/storage-blob';
import { UnderstudyError } from '../../../core/domain/errors.js';
import { readRangeMaxBytes } from '../../../core/ports/blob-transfer.js';
import { transferContainer, type TransferStore } from '../../../core/ports/transfer-store.js';
import { openBlobTransfer } from '../../../providers/azure-storage/blob-transfer.js';
import { openTransferStore } from '../../../providers/azure-storage/transfer-store.js';
import { uploadBlocks } from '../../../providers/azure-storage/upload.js';
import { startAzurite, type Azurite } from '../../support/azurite.js';
import { errorWithCode } from '../../support/conformance/error-code.js';
import { InMemoryCloudInventory } from '../../support/in-memory/cloud-inventory.js';
import { startLossyProxy } from '../../support/lossy-proxy.js';
import { inPieces } from '../../support/in-pieces.js';

const kib = 1024;
let azurite: Azurite;
let store: TransferStore;
let account: string;
before(async () => {
  azurite = await startAzurite();
  const inventory = InMemoryCloudInventory.ofAzurite(azurite);
  account = (await inventory.storageAccounts())[0]?.armId ?? '';
  store = openTransferStore({ inventory });
});
after(() => azurite.stop());

const grant = async (blobName: string, ttlSeconds = 60): Promise<string> =>
  (await store.grantUpload(account, blobName, ttlSeconds)).url;

async function contentOf(blobName: string, uploaded: { etag: string; lengthBytes: number }): Promise<Buffer> {
  return store.openReader(account, blobName, uploaded).read(0, uploaded.lengthBytes);
}

test('an upload in pieces of any size arrives whole, in order', async () => {
  for (const lengthBytes of [0, 1, 256 * kib, 256 * kib + 1, 3_000_017]) {
    const blobName = `${randomUUID()}/log`;
    const data = randomBytes(lengthBytes);
    const url = () => grant(blobName);
    const chunks = inPieces(data);
    const uploaded = await uploadBlocks({
      url: await url(),
      renew: url,
      chunks,
      blockBytes: 256 * kib,
      concurrency: 3,
    });
    assert.deepEqual(await store.stat(account, blobName), uploaded);
    assert.equal(uploaded.lengthBytes, lengthBytes);
    assert((await contentOf(blobName, uploaded)).equals(data));
  }
});

test('a SAS that expires in mid-upload is renewed once for all, and what was staged stays', async () => {
  const blobName = `${randomUUID()}/log`;
  const data = randomBytes(1024 * kib);
  let renewals = 0;
  async function* slowly(): AsyncIterable<Buffer> {
    yield data.subarray(0, 512 * kib);
    await new Promise((resolve) => setTimeout(resolve, 2300));
    yield data.subarray(512 * kib);
  }
  const uploaded = await uploadBlocks({
    url: await grant(blobName, 2),
    renew: async () => {
      renewals++;
      return grant(blobName, 60);
    },
    chunks: slowly(),
    blockBytes: 64 * kib,
    concurrency: 4,
  });
  assert.equal(renewals, 1);
  assert((await contentOf(blobName, uploaded)).equals(data));
});

test('a grant that is refused whatever is renewed ends in US6021, without the SAS in the message', async () => {
  const blobName = `${randomUUID()}/log`;
  let renewals = 0;
  const wrong = async () => {
    renewals++;
    return (await grant(blobName)).replace(/sig=[^&]*/, 'sig=c2VjcmV0LXNpZ25hdHVyZQ%3D%3D');
  };
  const upload = uploadBlocks({
    url: await wrong(),
    renew: wrong,
    chunks: inPieces(randomBytes(10)),
    blockBytes: 64 * kib,
    concurrency: 2,
  });
  await assert.rejects(upload, (error) => {
    assert(errorWithCode('US6021')(error), String(error));
    assert(error instanceof UnderstudyError && error.retry === 'never');
    assert(!`${error.stack ?? ''} ${JSON.stringify(error)} ${String(error.cause)}`.includes('c2VjcmV0'));
    return true;
  });
  assert(renewals >= 2 && renewals <= 5, `${renewals} grants were asked for`);
});

test('a grant serves its own blob only, and no reading', async () => {
  const blobName = `${randomUUID()}/log`;
  const url = await grant(blobName);
  const put = { method: 'PUT', headers: { 'x-ms-blob-type': 'BlockBlob' }, body: 'x' };
  assert.equal((await fetch(url, put)).status, 201);
  assert.equal((await fetch(url)).status, 403);
  assert.equal((await fetch(url.replace('/log?', '/log2?'), put)).status, 403);
  assert.equal((await fetch(url, { method: 'DELETE' })).status, 403);
  assert.equal(new URL(url).searchParams.get('st'), null);
});

test('a source that fails leaves no blob and its own error', async () => {
  const blobName = `${randomUUID()}/log`;
  async function* failing(): AsyncIterable<Buffer> {
    yield randomBytes(200 * kib);
    throw new Error('the disk cannot be read');
  }
  const url = () => grant(blobName);
  const upload = uploadBlocks({
    url: await url(),
    renew: url,
    chunks: failing(),
    blockBytes: 64 * kib,
    concurrency: 2,
  });
  await assert.rejects(upload, /the disk cannot be read/);
  assert.equal(await store.stat(account, blobName), undefined);
});

test('an aborted upload ends at once with the reason, and leaves no blob', async () => {
  const blobName = `${randomUUID()}/log`;
  const stop = new AbortController();
  async function* endless(): AsyncIterable<Buffer> {
    for (let count = 0; ; count++) {
      if (count === 5) stop.abort(new Error('the relay stops'));
      yield randomBytes(64 * kib);
    }
  }
  const url = () => grant(blobName);
  const upload = uploadBlocks({
    url: await url(),
    renew: url,
    chunks: endless(),
    blockBytes: 64 * kib,
    concurrency: 2,
    signal: stop.signal,
  });
  await assert.rejects(upload, /the relay stops/);
  assert.equal(await store.stat(account, blobName), undefined);
});

test('a block that is damaged on its way is refused by its MD5, and the upload fails rather than lie', async () => {
  const blobName = `${randomUUID()}/log`;
  const proxy = await startLossyProxy(azurite.ports.blob, ({ path }, body) => {
    if (path.includes('comp=block&') && body.length > 0) body[0] = (body[0] ?? 0) ^ 1;
    return 'forward';
  });
  try {
    const url = async () => proxy.through(await grant(blobName));
    const chunks = inPieces(randomBytes(100 * kib));
    await assert.rejects(
      uploadBlocks({ url: await url(), renew: url, chunks, blockBytes: 64 * kib, concurrency: 2 }),
      UnderstudyError,
    );
    assert.equal(await store.stat(account, blobName), undefined);
  } finally {
    await proxy.stop();
  }
});

test('lost requests and lost answers are made up for', async () => {
  const blobName = `${randomUUID()}/log`;
  let count = 0;
  const proxy = await startLossyProxy(azurite.ports.blob, () => {
    count++;
    return count % 5 === 2 ? 'loseRequest' : count % 5 === 4 ? 'loseAnswer' : 'forward';
  });
  try {
    const url = async () => proxy.through(await grant(blobName));
    const data = randomBytes(700 * kib);
    const chunks = inPieces(data);
    const uploaded = await uploadBlocks({ url: await url(), renew: url, chunks, blockBytes: 64 * kib, concurrency: 1 });
    assert((await contentOf(blobName, uploaded)).equals(data));
    assert(count > 13, 'the proxy was not in the way');
  } finally {
    await proxy.stop();
  }
});

test('a range is read by SAS exactly, and refused where the blob ends before, is not there, or the SAS does not allow it', async () => {
  const blobName = `${randomUUID()}/digests`;
  const data = randomBytes(100 * kib);
  const url = () => grant(blobName);
  await uploadBlocks({ url: await url(), renew: url, chunks: inPieces(data), blockBytes: 64 * kib, concurrency: 2 });
  const readable = (name: string) =>
    BlobServiceClient.fromConnectionString(azurite.connectionString)
      .getContainerClient(transferContainer)
      .getBlobClient(name)
      .generateSasUrl({ permissions: BlobSASPermissions.parse('r'), expiresOn: new Date(Date.now() + 60_000) });
  const transfer = openBlobTransfer();
  const readRange = (sasUrl: string, offset: number, length: number, signal?: AbortSignal) =>
    transfer.readRange(sasUrl, offset, length, signal);
  const sas = await readable(blobName);
  assert((await readRange(sas, 70 * kib + 1, 1000)).equals(data.subarray(70 * kib + 1, 70 * kib + 1001)));
  await assert.rejects(readRange(sas, 99 * kib, 2 * kib), UnderstudyError);
  await assert.rejects(readRange(await readable(`${blobName}-2`), 0, 1), errorWithCode('US6022'));
  const writeOnly = await url();
  await assert.rejects(readRange(writeOnly, 0, 1), (error) => {
    assert(!String(error).includes('sig='));
    return errorWithCode('US6021')(error);
  });
  for (const [offset, length] of [
    [-1, 5],
    [0, 0],
    [0, readRangeMaxBytes + 1],
  ] as const)
    await assert.rejects(readRange(sas, offset, length), errorWithCode('US6026'));
  await assert.rejects(readRange(sas, 0, 10, AbortSignal.abort(new Error('the relay stops'))), /the relay stops/);
});
