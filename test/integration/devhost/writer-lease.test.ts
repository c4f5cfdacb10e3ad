import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { BlobServiceClient } from '@azure/storage-blob';
import { silentLog } from '../../../devhost/log.js';
import { acquireWriterLease, type WriterLeaseOptions } from '../../../devhost/writer/writer-lease.js';
import { ownIdentity, processStartTime } from '../../../devhost/writer/process-identity.js';
import { startAzurite, type Azurite } from '../../support/azurite.js';

let azurite: Azurite;
before(async () => {
  azurite = await startAzurite();
});
after(() => azurite.stop());

const options = (hubName: string, more: Partial<WriterLeaseOptions> = {}): WriterLeaseOptions => ({
  connectionString: azurite.connectionString,
  hubName,
  waitMs: 0,
  log: silentLog,
  onLost: (reason) => assert.fail(reason),
  ...more,
});
const leaseBlob = (hubName: string) =>
  BlobServiceClient.fromConnectionString(azurite.connectionString)
    .getContainerClient('azure-webjobs-hosts')
    .getBlobClient(`locks/${hubName.toLowerCase()}/devhost-writer`);

async function setOwner(hubName: string, owner: { pid: number; startTime: string; machine?: string }) {
  const blob = leaseBlob(hubName);
  const { metadata = {} } = await blob.getProperties();
  await blob.setMetadata({
    epoch: metadata.epoch ?? '0',
    machine: Buffer.from(owner.machine ?? ownIdentity().machine).toString('base64'),
    pid: String(owner.pid),
    starttime: owner.startTime,
  });
}

test('a living owner keeps the hub; once it lets go, the next one has the next epoch', async () => {
  const first = await acquireWriterLease(options('Living'));
  await assert.rejects(acquireWriterLease(options('Living')), /has a writer \(process \d+/);
  await first.release();
  const second = await acquireWriterLease(options('Living'));
  assert.deepEqual([first.epoch, second.epoch], [1, 2]);
  await second.release();
});

test('of many that take over from a dead owner at once, exactly one wins', async () => {
  const child = spawn(process.execPath, ['-e', '']);
  await once(child, 'exit');
  const dead = { pid: child.pid ?? 0, startTime: '1' };
  const first = await acquireWriterLease(options('Dead'));
  await first.release();
  await setOwner('Dead', dead);
  await leaseBlob('Dead').getBlobLeaseClient('00000000-0000-4000-8000-000000000001').acquireLease(60);
  const outcomes = await Promise.allSettled(Array.from({ length: 5 }, () => acquireWriterLease(options('Dead'))));
  const winners = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
  assert.deepEqual(
    winners.map(({ epoch }) => epoch),
    [2],
  );
  await Promise.all(winners.map((winner) => winner.release()));
});

test('a process that got a dead owner’s id is not taken for it', async () => {
  const first = await acquireWriterLease(options('Reused'));
  await first.release();
  await setOwner('Reused', { pid: process.pid, startTime: `${processStartTime(process.pid) ?? ''}9` });
  await leaseBlob('Reused').getBlobLeaseClient('00000000-0000-4000-8000-000000000002').acquireLease(60);
  const second = await acquireWriterLease(options('Reused'));
  assert.equal(second.epoch, 2);
  await second.release();
});

test('an owner on another machine is never passed over before its lease ends', async () => {
  const first = await acquireWriterLease(options('Elsewhere'));
  await first.release();
  await setOwner('Elsewhere', { pid: 2 ** 22 + 1, startTime: '1', machine: 'elsewhere' });
  await leaseBlob('Elsewhere').getBlobLeaseClient('00000000-0000-4000-8000-000000000003').acquireLease(15);
  await assert.rejects(acquireWriterLease(options('Elsewhere')), /on elsewhere\)/);
});

test('an owner whose lease was taken learns of it', async () => {
  const lost = new Promise<string>((resolve) => {
    void acquireWriterLease(options('Taken', { onLost: resolve })).then(async () => {
      const lease = leaseBlob('Taken').getBlobLeaseClient('00000000-0000-4000-8000-000000000004');
      await lease.breakLease(0);
      await lease.acquireLease(15);
    });
  });
  assert.match(await lost, /another process has taken over the hub Taken/);
});
