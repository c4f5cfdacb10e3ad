import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { asDiskId, asItemId, asProtectionId, asVmId } from '../../../core/domain/ids.js';
import type { ProtectedItem } from '../../../core/domain/protected-item/protected-item.js';
import type { TrackingStatus } from '../../../core/ports/hypervisor-host.js';
import type { SiteVm } from '../../../core/domain/site/inventory.js';
import { openBusinessClock } from '../../../providers/business-clock/business-clock.js';
import { SiteConnection } from '../../../providers/simulated-site/connection.js';
import { startSiteProcess } from '../../../providers/simulated-site/serve.js';
import { openSimulatedSite } from '../../../providers/simulated-site/client.js';
import { startAzurite } from '../azurite.js';
import { RelayAppDouble } from '../relay-app-double.js';
import { sampleDisk, sampleItem, sampleProgress } from '../sample-item.js';
import { assertSameBytes } from '../site/disk-images.js';
import { RawReplica } from './raw-replica.js';

const relayMain = join(import.meta.dirname, '../../../relay/main.js');

/** A real site, Azurite, the app's stand-in and real relay processes, on fresh folders. */
export interface RelayBench {
  readonly app: RelayAppDouble;
  readonly site: {
    readonly siteFolder: string;
    readonly connection: SiteConnection;
    /** Stops the site in order, and starts it again on the same folder. */
    restart(whileDown: () => Promise<void>): Promise<void>;
  };
  readonly folder: string;
  /** Runs a relay command to its end. */
  relay(...args: string[]): Promise<{ exitCode: number; output: string }>;
  startRelay(): RelayProcess;
  /** Assigns a VM, in initial replication under a fresh protection. */
  protect(vmName: string, options: { intervalSeconds: number; protection: number }): Promise<ProtectedBenchItem>;
}

export interface RelayProcess {
  readonly output: () => string;
  kill(signal: NodeJS.Signals): Promise<void>;
}

export interface ProtectedBenchItem {
  readonly itemId: string;
  readonly vm: SiteVm;
  readonly replica: RawReplica;
  progress(): ProtectedItem['replication'];
  tracking(): Promise<TrackingStatus>;
  /** Compares every disk, as the replica has it, with the site's journal at the last applied cycle. */
  compare(): Promise<number>;
}

export async function startRelayBench(
  t: TestContext,
  options: { speed: number; diskSizeBytes: number; fillFraction?: number },
): Promise<RelayBench> {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-relay-'));
  // Undone in the opposite order: nothing is taken away from what still runs.
  const undo: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true })];
  t.after(async () => {
    for (const step of undo.reverse()) await step();
  });
  const azurite = await startAzurite();
  undo.push(() => azurite.stop());
  const app = await RelayAppDouble.start({ connectionString: azurite.connectionString, speed: options.speed });
  undo.push(async () => {
    app.close();
  });
  const siteFolder = join(folder, 'site');
  const startSite = () =>
    startSiteProcess({
      siteFolder,
      clock: openBusinessClock(app.clockUrl),
      journal: true,
      port: 0,
      seed: { vmCount: 3, diskSizeBytes: options.diskSizeBytes, fillFraction: options.fillFraction ?? 1 / 4 },
    });
  let running = await startSite();
  undo.push(() => running.stop());
  const connection = new SiteConnection(siteFolder);
  for (const vm of ['web-01', 'sql-01', 'app-01']) await connection.call('guest', { vm, writesPerSecond: 0 });
  const restartSite = async (whileDown: () => Promise<void>) => {
    await running.stop();
    await whileDown();
    running = await startSite();
  };
  const site = { siteFolder, connection, restart: restartSite };
  const data = join(folder, 'relay');
  const environment = { ...process.env, UNDERSTUDY_CLOCK_URL: app.clockUrl };
  const spawnRelay = (args: string[]): { child: ChildProcess; output: () => string } => {
    const child = spawn(process.execPath, ['--enable-source-maps', relayMain, ...args], { env: environment });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
    return { child, output: () => output };
  };
  const relay = async (...args: string[]) => {
    const { child, output } = spawnRelay([...args, '--data', data]);
    const [exitCode] = (await once(child, 'exit')) as [number];
    return { exitCode, output: output() };
  };
  const keyFile = join(folder, 'key.txt');
  await writeFile(keyFile, app.registrationKey());
  const registered = await relay('register', '--key-file', keyFile, '--site', site.siteFolder);
  assert.equal(registered.exitCode, 0, registered.output);

  return {
    app,
    site,
    folder,
    relay,
    startRelay: () => {
      const { child, output } = spawnRelay(['run', '--data', data, '--site', site.siteFolder, '--log-level', 'debug']);
      const exited = once(child, 'exit');
      undo.push(async () => {
        child.kill('SIGKILL');
        await exited;
        if (process.env.UNDERSTUDY_TEST_SHOW_RELAY === '1')
          t.diagnostic(
            [
              output(),
              ...app.problems,
              JSON.stringify([...app.items.values()].map((item) => item.resyncRequired)),
            ].join('\n'),
          );
      });
      return {
        output,
        kill: async (signal) => {
          child.kill(signal);
          await exited;
        },
      };
    },
    protect: async (vmName, { intervalSeconds, protection }) => {
      const inventory = await site.connection.call('inventory', {});
      const vm = inventory.vms.find(({ name }) => name === vmName);
      assert.ok(vm);
      const protectionId = asProtectionId(`6a1f6a3e-0000-4000-8000-${String(protection).padStart(12, '0')}`);
      const itemId = asItemId(`item-${vmName}-${protection}`);
      const images = join(folder, itemId);
      await mkdir(images);
      const replica = new RawReplica(images, new Map(vm.disks.map(({ diskId, sizeBytes }) => [diskId, sizeBytes])));
      const { checkpointAt: _, ...progress } = sampleProgress();
      const item: ProtectedItem = sampleItem({
        itemId,
        protectionId,
        vmId: asVmId(vm.vmId),
        vmName,
        disks: vm.disks.map(({ diskId, sizeBytes }, index) =>
          sampleDisk(index, { diskId: asDiskId(diskId), sourceSizeBytes: sizeBytes, replicaSizeBytes: sizeBytes }),
        ),
        replication: progress,
      });
      await site.connection.call('createReplicationRelationship', { vmId: vm.vmId, protectionId });
      app.assign(item, intervalSeconds, replica);
      return {
        itemId,
        vm,
        replica,
        progress: () => app.item(itemId).item.replication,
        tracking: () => openSimulatedSite({ siteFolder: site.siteFolder }).tracking(asVmId(vm.vmId), protectionId),
        compare: async () => {
          const cycle = app.item(itemId).item.replication.appliedCycle;
          const outFolder = await mkdtemp(join(folder, 'at-'));
          const { disks } = await site.connection.call('diskAt', { vm: vmName, cycle, outFolder });
          assert.equal(disks.length, vm.disks.length);
          for (const disk of vm.disks) {
            const at = disks.find((each) => each.disk === disk.name);
            assert.ok(at, `${disk.name} among ${disks.map((each) => each.disk).join(', ')}`);
            await assertSameBytes(replica.path(disk.diskId), at.path);
          }
          await rm(outFolder, { recursive: true });
          return cycle;
        },
      };
    },
  };
}

export async function eventually(what: string, holds: () => boolean, withinSeconds = 60): Promise<void> {
  const until = Date.now() + withinSeconds * 1000;
  while (!holds()) {
    if (Date.now() > until) throw new Error(`not within ${withinSeconds} s: ${what}`);
    await sleep(20);
  }
}
