import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openLocalAzure, seedLocalAzure } from '../../../providers/local-azure/local-azure.js';
import { errorWithCode } from '../../support/conformance/error-code.js';

const group = '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local/providers';
const accounts = [
  { name: 'devstoreaccount1', key: 'YXBw' },
  { name: 'replicas', key: 'a2V5LW9uZQ==' },
  { name: 'premium', key: 'a2V5LXR3bw==' },
];
const seed = { blobEndpointBase: 'http://127.0.0.1:10000', accounts };

async function inFolder(body: (path: string, folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-local-azure-'));
  try {
    await body(join(folder, 'azure.json'), folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

test('a seeded local cloud has the accounts and networks of the local environment', () =>
  inFolder(async (path, folder) => {
    await seedLocalAzure(path, seed);
    const cloud = openLocalAzure(path);
    assert.deepEqual(await cloud.storageAccount(`${group}/microsoft.storage/STORAGEACCOUNTS/replicas`), {
      armId: `${group}/Microsoft.Storage/storageAccounts/replicas`,
      name: 'replicas',
      kind: 'standard',
      blobEndpoint: 'http://127.0.0.1:10000/replicas',
      credential: { kind: 'sharedKey', accountName: 'replicas', accountKey: 'a2V5LW9uZQ==' },
    });
    assert.deepEqual(
      (await cloud.storageAccounts()).map(({ name, kind }) => [name, kind]),
      [
        ['replicas', 'standard'],
        ['premium', 'premium'],
      ],
    );
    assert.deepEqual(
      (await cloud.networks()).map(({ armId, subnets }) => [armId, subnets[0]?.name]),
      ['prod', 'test'].map((name) => [`${group}/Microsoft.Network/virtualNetworks/${name}`, 'default']),
    );
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    assert.deepEqual(await readdir(folder), ['azure.json']);
  }));

test('seeding again takes up another port and keeps the networks that people edited', () =>
  inFolder(async (path) => {
    await seedLocalAzure(path, seed);
    const cloud = openLocalAzure(path);
    assert.equal((await cloud.networks()).length, 2);
    const file = JSON.parse(await readFile(path, 'utf8')) as { networks: unknown[]; storageAccounts: object[] };
    Object.assign(file.storageAccounts[0] ?? {}, { location: 'westeurope' });
    file.networks.push({ name: 'dmz', subnets: [{ name: 'only', addressPrefix: '10.9.0.0/24' }] });
    await writeFile(path, JSON.stringify(file));
    assert.equal((await cloud.network(`${group}/Microsoft.Network/virtualNetworks/dmz`)).name, 'dmz');
    assert.deepEqual(
      (await cloud.storageAccounts()).map(({ location }) => location),
      ['westeurope', undefined],
    );
    await seedLocalAzure(path, { ...seed, blobEndpointBase: 'http://127.0.0.1:20000' });
    const account = await cloud.storageAccount(`${group}/Microsoft.Storage/storageAccounts/premium`);
    assert.equal(account.blobEndpoint, 'http://127.0.0.1:20000/premium');
    assert.equal((await cloud.networks()).length, 3);
  }));

test('what is not there is named, with what is', () =>
  inFolder(async (path) => {
    await seedLocalAzure(path, seed);
    const cloud = openLocalAzure(path);
    await assert.rejects(cloud.storageAccount(`${group}/Microsoft.Storage/storageAccounts/replica`), (error) => {
      assert.match(String(error), /storageAccounts\/replicas/);
      return errorWithCode('US6010')(error);
    });
    await assert.rejects(cloud.network('prod'), errorWithCode('US6011'));
  }));

test('a missing or broken file is refused with its place, without its keys, and heals when mended', () =>
  inFolder(async (path) => {
    const cloud = openLocalAzure(path);
    await assert.rejects(cloud.networks(), errorWithCode('US6012'));
    await writeFile(path, '{ "storageAccounts": [');
    await assert.rejects(cloud.networks(), errorWithCode('US6012'));
    const account = { name: 'Replicas!', kind: 'standard', blobEndpoint: 'http://x/y', accountKey: 'c2VjcmV0 !' };
    await writeFile(path, JSON.stringify({ storageAccounts: [account], networks: [] }));
    await assert.rejects(cloud.networks(), (error) => {
      assert.match(String(error), /storageAccounts\.0\.name/);
      assert.doesNotMatch(String(error), /c2VjcmV0/);
      return errorWithCode('US6012')(error);
    });
    await assert.rejects(seedLocalAzure(path, seed), errorWithCode('US6012'));
    await rm(path);
    await seedLocalAzure(path, seed);
    assert.equal((await cloud.networks()).length, 2);
  }));

test('seeding without a key of a needed account is refused and leaves nothing', () =>
  inFolder(async (path, folder) => {
    await assert.rejects(seedLocalAzure(path, { ...seed, accounts: accounts.slice(0, 2) }), /premium/);
    assert.deepEqual(await readdir(folder), []);
  }));
