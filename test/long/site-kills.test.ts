import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash, randomInt } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { openHrlReader } from '../../core/dataplane/hrl/reader.js';
import type { DiskReader } from '../../core/dataplane/random-access.js';
import { asVmId, type DiskId } from '../../core/domain/ids.js';
import { openSimulatedSite } from '../../providers/simulated-site/client.js';
import { SiteConnection } from '../../providers/simulated-site/connection.js';
import { checkOrderedHistory, xorshift } from '../../providers/simulated-site/guests/ordered-records.js';
import { sitePaths, vmPaths } from '../../providers/simulated-site/site-file.js';
import { readVmState } from '../../providers/simulated-site/vm-state.js';
import { applyLog, assertSameBytes } from '../support/site/disk-images.js';
import { judge } from '../support/judges.js';
import { spawnSite } from '../support/site/site-process.js';
import { temporaryFolder } from '../support/site/test-site.js';

const run = promisify(execFile);
const protectionId = 'f1d0c6a0-0000-4000-8000-000000000001';
const vm = 'sql-01';
const rounds = Number(process.env.UNDERSTUDY_LONG_ROUNDS ?? '40');

test(
  'a site killed at random points of random work is whole at its next start',
  { timeout: rounds * 20_000 },
  async (t) => {
    const seed = Number(process.env.UNDERSTUDY_LONG_SEED ?? randomInt(2 ** 31));
    t.diagnostic(`seed ${seed} (UNDERSTUDY_LONG_SEED replays its choices)`);
    const random = xorshift(seed);
    const folder = await temporaryFolder(t);
    const siteFolder = join(folder, 'site');
    const options = ['--seed-disk-size', '4M', '--journal'];
    let site = await spawnSite(t, siteFolder, options);
    const host = openSimulatedSite({ siteFolder });
    const connection = new SiteConnection(siteFolder);
    const found = (await host.inventory()).vms.find(({ name }) => name === vm);
    assert.ok(found);
    const vmId = asVmId(found.vmId);
    await host.createReplicationRelationship(vmId, protectionId);
    await connection.call('guest', { vm, writesPerSecond: 150 });
    let epoch = 0;
    const checkpoints = new Map<string, string[]>();
    const outcomes = new Map<string, number>();

    for (let round = 0; round < rounds; round += 1) {
      const work = (async () => {
        for (;;) {
          const status = await host.tracking(vmId, protectionId);
          const choice = random() % 10;
          if (status.kind !== 'tracking' || choice === 0) {
            const checkpoint = await host.startInitialReplication(vmId, { protectionId, epoch: (epoch += 1) });
            checkpoints.set(checkpoint.checkpointId, await digests(checkpoint));
          } else if (choice === 1 && status.checkpointId !== undefined) {
            await host.releaseCheckpoint(vmId, status.checkpointId);
          } else if (choice <= 3) {
            await host.discardCyclesThrough(vmId, protectionId, Math.max(0, status.lastClosedCycle - 1));
          } else {
            const consistency = choice < 6 ? 'applicationConsistent' : 'crashConsistent';
            await host.switchLogs(vmId, { protectionId, cycle: status.lastClosedCycle + 1, consistency });
          }
        }
      })().catch((error: unknown) => error);
      await sleep(random() % 600);
      const graceful = random() % 5 === 0;
      if (graceful) assert.equal(await site.stop(), 0);
      else await site.kill();
      const ended = await work;
      assert.ok(isExpected(ended), `round ${round}: ${String(ended)}`);

      await judge(t, 'qemu-img', async (qemuImg) => {
        for (const { name } of found.disks) {
          await run(qemuImg, ['check', vmPaths.disk(sitePaths.vmFolder(siteFolder, vm), name)]);
        }
      });
      site = await spawnSite(t, siteFolder, options);
      await connection.call('guest', { vm, writesPerSecond: 0 });
      const status = await host.tracking(vmId, protectionId);
      const outcome = `${graceful ? 'stopped' : 'killed'}: ${status.kind === 'resyncRequired' ? status.reason : status.kind}`;
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      await checkWhole(round);
      if (status.kind === 'tracking') await checkNextCycle(status.lastClosedCycle);
      await connection.call('guest', { vm, writesPerSecond: 150 });
    }
    for (const [outcome, count] of outcomes) t.diagnostic(`${outcome}: ${count}`);
    assert.equal(await site.stop(), 0);

    async function digests({ checkpointId, disks }: { checkpointId: string; disks: { diskId: string }[] }) {
      const result: string[] = [];
      for (const { diskId } of found?.disks ?? []) {
        const id = disks.find((disk) => disk.diskId === diskId)?.diskId;
        assert.ok(id !== undefined);
        const disk = await host.openCheckpointDisk(vmId, checkpointId, id as DiskId);
        result.push(await digest(disk).finally(() => disk.close()));
      }
      return result;
    }

    /** Tracking went on: the journal's disk of the last cycle plus the next log must be the journal's disk of the next cycle. */
    async function checkNextCycle(lastClosedCycle: number): Promise<void> {
      const cycle = lastClosedCycle + 1;
      const rebuild = async (of: number) =>
        (await connection.call('diskAt', { vm, cycle: of, outFolder: join(folder, `at-${of % 2}`) })).disks;
      const before = await rebuild(lastClosedCycle);
      await host.switchLogs(vmId, { protectionId, cycle, consistency: 'crashConsistent' });
      for (const [index, { diskId }] of (found?.disks ?? []).entries()) {
        const log = await host.openLog(vmId, cycle, diskId as DiskId);
        await applyLog(log, before[index]?.path ?? '').finally(() => log.close());
      }
      const after = await rebuild(cycle);
      for (const [index, { path }] of before.entries()) await assertSameBytes(path, after[index]?.path ?? '');
    }

    async function checkWhole(round: number): Promise<void> {
      const readers = (found?.disks ?? []).map((_, diskIndex) => async (offsetBytes: number, lengthBytes: number) => {
        const { dataBase64 } = await connection.call('read', { vm, diskIndex, offsetBytes, lengthBytes });
        return Buffer.from(dataBase64, 'base64');
      });
      const layout = {
        diskSizes: (found?.disks ?? []).map((disk) => disk.sizeBytes),
        tag: Number.parseInt(vmId.slice(0, 8), 16),
      };
      const history = await checkOrderedHistory(layout, readers);
      assert.equal(history.kind, 'prefix', `round ${round}: ${JSON.stringify(history)}`);

      let expected: number | undefined;
      for (const closed of await host.closedCycles(vmId, protectionId)) {
        assert.ok(expected === undefined || closed.cycle === expected, `round ${round}: cycle ${expected} is missing`);
        expected = closed.cycle + 1;
        for (const { diskId, entryCount, lengthBytes } of closed.logs) {
          const log = await host.openLog(vmId, closed.cycle, diskId);
          try {
            assert.equal(log.lengthBytes, lengthBytes);
            const reader = await openHrlReader(log);
            let entries = 0;
            for await (const entry of reader.entries()) {
              await reader.readData(entry);
              entries += 1;
            }
            assert.equal(entries, entryCount);
          } finally {
            await log.close();
          }
        }
      }

      const { checkpoint } = (await readVmState(sitePaths.vmFolder(siteFolder, vm)))?.replication ?? {};
      const known = checkpoint && checkpoints.get(checkpoint.checkpointId);
      if (checkpoint?.releasing === false && known !== undefined) {
        const now = await digests({ checkpointId: checkpoint.checkpointId, disks: found?.disks ?? [] });
        assert.deepEqual(now, known, `round ${round}: the checkpoint moved`);
      }
    }
  },
);

async function digest(disk: DiskReader): Promise<string> {
  const hash = createHash('sha256');
  for (let at = 0; at < disk.sizeBytes; at += 1024 * 1024) {
    hash.update(await disk.read(at, Math.min(1024 * 1024, disk.sizeBytes - at)));
  }
  return hash.digest('hex');
}

/** The site went away, or a resync came in between. */
const isExpected = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && ['US5001', 'US5014', 'US5007'].includes(String(error.code));
