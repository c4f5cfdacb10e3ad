import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { formatTable } from '../cli/table.js';
import { asVaultId } from '../core/domain/ids.js';
import { list } from '../core/records/access.js';
import { rows } from '../core/records/rows.js';
import { SiteConnection } from '../providers/simulated-site/connection.js';
import { seedSite } from '../providers/simulated-site/seed.js';
import { localVaultId } from '../scripts/supervisor/environment.js';
import { eventually, startSystem, type UnderstudySystem } from '../test/support/system/understudy-system.js';
import { measureCeiling } from './storage-ceiling.js';

const gib = 2 ** 30;
/** Half of it is what the logs of two late cycles may hold before the item needs a resync. */
const diskSizeBytes = 16 * gib;
const vmName = 'web-01';
const intervalSeconds = 30;
const rpoGoalSeconds = 60;
/** Of the random guest, whose writes are 4 to 64 KiB. */
const meanWriteBytes = 68 * 512;
const firstMegabytesPerSecond = 2;
/** After the first rate that is too much: how often the gap to the last good one is halved. */
const halvings = 2;
/** Cycles that are let pass after a change of rate, and then those that count. */
const settleCycles = 2;
const countedCycles = 3;
const recoverTimeoutMs = 15 * 60_000;
/** A guest that reaches less of its rate than this is what limits the run. */
const reachedFraction = 0.8;

interface Step extends Record<string, string | number> {
  'asked MB/s': number;
  'changed MB/s': number;
  'on the wire MB/s': number;
  'worst RPO s': number;
  'worst RPO applied s': number;
  verdict: string;
}

/** The highest rate of scattered writes of one VM whose RPO stays under a minute, beside what Azurite alone takes. */
export async function benchChurn(print: (line: string) => void): Promise<void> {
  const preparing = await mkdtemp(join(tmpdir(), 'understudy-bench-'));
  const siteFolder = join(preparing, 'site');
  await seedSite(siteFolder, { vmCount: 1, diskSizeBytes, fillFraction: 0 });
  const system = await startSystem({ speed: 1, siteFolder, journal: false });
  try {
    const ceiling = await measureCeiling(system.environment.azurite);
    const site = new SiteConnection(siteFolder);
    await setRate(site, 0);
    await system.protectVm(vmName, intervalSeconds);
    await eventually('a first recovery point', recoverTimeoutMs, async () =>
      (await system.item(vmName)).state === 'Protected' ? true : undefined,
    );
    const steps: Step[] = [];
    let [good, bad]: [Step | undefined, number | undefined] = [undefined, undefined];
    for (let left = halvings, rate = firstMegabytesPerSecond; ;) {
      const step = await tryRate(system, site, rate);
      steps.push(step);
      print(formatTable([step], ['asked MB/s', 'changed MB/s', 'worst RPO s', 'worst RPO applied s', 'verdict']));
      if (step.verdict === 'held') good = step;
      else bad = rate;
      if (step.verdict === guestIsTheLimit || step.verdict === needsResync) break;
      if (bad !== undefined && left-- === 0) break;
      rate = bad === undefined ? rate * 2 : ((good?.['asked MB/s'] ?? 0) + bad) / 2;
      if (bad !== undefined) await recover(system, site);
    }
    print('');
    print(formatTable(steps, Object.keys(steps[0] ?? {})));
    print(
      `Azurite alone, 4 requests at once: blocks of 4 MiB ${round(ceiling.stageBlock[4])} MB/s, pages of 4 MiB ` +
        `${round(ceiling.uploadPages[4])} MB/s, pages of 64 KiB ${round(ceiling.uploadSmallPages[4])} MB/s`,
    );
    const held = good?.['changed MB/s'];
    print(
      held === undefined
        ? `no rate was held with RPO under ${rpoGoalSeconds} s`
        : `sustained churn of one VM with RPO under ${rpoGoalSeconds} s: ${held} MB/s; ` +
            `Azurite's pages of 64 KiB / ours = ${(ceiling.uploadSmallPages[4] / held).toFixed(1)}`,
    );
  } finally {
    await system.stop();
    await rm(preparing, { recursive: true, force: true });
  }
}

const guestIsTheLimit = 'the guest writes no faster';
const needsResync = 'needs a resync';

const setRate = (site: SiteConnection, megabytesPerSecond: number) =>
  site.call('guest', { vm: vmName, kind: 'random', writesPerSecond: (megabytesPerSecond * 1e6) / meanWriteBytes });

interface Look {
  received: number;
  rpoSeconds: number;
  appliedRpoSeconds: number;
  isResyncRequired: boolean;
}

/** Speed is 1: business time is system time. */
async function look(system: UnderstudySystem): Promise<Look> {
  const { replication } = await system.item(vmName);
  const age = (at: string | undefined) => (at === undefined ? Infinity : (Date.now() - Date.parse(at)) / 1000);
  return {
    received: replication.receivedCycle,
    rpoSeconds: age(replication.receivedTakenAt),
    appliedRpoSeconds: age(replication.appliedTakenAt),
    isResyncRequired: replication.resyncRequired !== undefined,
  };
}

/** What a received cycle changed, and when its logs were closed. */
interface CycleBytes {
  takenAtMs: number;
  changedBytes: number;
  sentBytes: number;
}

async function noteCycles(system: UnderstudySystem, into: Map<number, CycleBytes>): Promise<void> {
  const { itemId } = await system.item(vmName);
  for (const { value } of await list(system.table, rows.cycles(asVaultId(localVaultId), itemId))) {
    const { cycle, takenAt, disks } = value.manifest;
    const sum = (of: 'changedBytes' | 'lengthBytes') => disks.reduce((total, { log }) => total + (log?.[of] ?? 0), 0);
    into.set(cycle, {
      takenAtMs: Date.parse(takenAt),
      changedBytes: sum('changedBytes'),
      sentBytes: sum('lengthBytes'),
    });
  }
}

async function tryRate(system: UnderstudySystem, site: SiteConnection, rate: number): Promise<Step> {
  await setRate(site, rate);
  const cycles = new Map<number, CycleBytes>();
  const startedAt = (await look(system)).received;
  const [from, to] = [startedAt + settleCycles, startedAt + settleCycles + countedCycles];
  // At a rate that is far too high no cycle ends in time: the RPO tells that before the cycles do.
  const deadline = Date.now() + (to - startedAt + 2) * 2 * intervalSeconds * 1000;
  let worst = { rpoSeconds: 0, appliedRpoSeconds: 0 };
  let isResyncRequired = false;
  for (;;) {
    await delay(1000);
    const seen = await look(system);
    await noteCycles(system, cycles);
    isResyncRequired ||= seen.isResyncRequired;
    if (seen.received >= from) {
      worst = {
        rpoSeconds: Math.max(worst.rpoSeconds, seen.rpoSeconds),
        appliedRpoSeconds: Math.max(worst.appliedRpoSeconds, seen.appliedRpoSeconds),
      };
    }
    if (isResyncRequired || seen.received >= to || Date.now() > deadline) break;
  }
  const counted = [...cycles].filter(([cycle]) => cycle > from).map(([, bytes]) => bytes);
  const before = cycles.get(from);
  const last = counted.at(-1);
  const seconds = before && last ? (last.takenAtMs - before.takenAtMs) / 1000 : Number.NaN;
  const perSecond = (of: 'changedBytes' | 'sentBytes') =>
    round(counted.reduce((total, bytes) => total + bytes[of], 0) / 1e6 / seconds);
  const changed = perSecond('changedBytes');
  const isHeld =
    counted.length >= countedCycles && worst.rpoSeconds < rpoGoalSeconds && worst.appliedRpoSeconds < rpoGoalSeconds;
  return {
    'asked MB/s': round(rate),
    'changed MB/s': changed,
    'on the wire MB/s': perSecond('sentBytes'),
    'worst RPO s': round(worst.rpoSeconds),
    'worst RPO applied s': round(worst.appliedRpoSeconds),
    verdict: isResyncRequired
      ? needsResync
      : !isHeld
        ? 'too much'
        : changed < rate * reachedFraction
          ? guestIsTheLimit
          : 'held',
  };
}

/** Lets what piled up drain, so that a rate is not judged by the one before. */
async function recover(system: UnderstudySystem, site: SiteConnection): Promise<void> {
  await setRate(site, 0);
  await eventually(`RPO under ${rpoGoalSeconds} s again`, recoverTimeoutMs, async () => {
    const seen = await look(system);
    return seen.appliedRpoSeconds < intervalSeconds && seen.rpoSeconds < intervalSeconds ? true : undefined;
  });
}

const round = (value: number): number => Math.round(value * 10) / 10;
