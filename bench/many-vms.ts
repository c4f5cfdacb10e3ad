import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pLimit from 'p-limit';
import { formatTable } from '../cli/table.js';
import { asVaultId } from '../core/domain/ids.js';
import type { ProtectedItem } from '../core/domain/protected-item/protected-item.js';
import { list } from '../core/records/access.js';
import { rows } from '../core/records/rows.js';
import { SiteConnection } from '../providers/simulated-site/connection.js';
import { seedSite } from '../providers/simulated-site/seed.js';
import { readStatus } from '../relay/status-file.js';
import { localVaultId } from '../scripts/supervisor/environment.js';
import { eventually, startSystem, type UnderstudySystem } from '../test/support/system/understudy-system.js';
import { AccessLog, noRequests, requestKinds, type RequestCounts } from './access-log.js';
import { CycleTimes } from './cycle-times.js';
import { processNames, readUse, type ProcessName, type ProcessUse } from './process-meter.js';

const mib = 2 ** 20;
const diskSizeBytes = 16 * mib;
const intervalSeconds = 300;
/** One write of 4 to 64 KiB each ten seconds. */
const guestWritesPerSecond = 0.1;
/** Requests of an operator who protects one VM after the other, a good many at a time. */
const protectionsAtOnce = 16;
const firstPointTimeoutMs = 60 * 60_000;
/** Rows are looked at this often within an interval: so that no cycle passes unseen. */
const looksPerInterval = 6;
const shortestLookMs = 1500;
const fastestSpeed = 1024;

export interface ManyVmsOptions {
  vms: number;
  /** Of business time, each measurement. */
  minutes: number;
  speed: number;
  findSpeed: boolean;
}

/** Hundreds of items on one relay and one app: do all their cycles come in time, and what does each cost? */
export async function benchManyVms(print: (line: string) => void, options: ManyVmsOptions): Promise<void> {
  const preparing = await mkdtemp(join(tmpdir(), 'understudy-bench-'));
  const siteFolder = join(preparing, 'site');
  const { vms } = await seedSite(siteFolder, { vmCount: options.vms + 1, diskSizeBytes, fillFraction: 1 / 16 });
  // Of the seeded ones app-01 cannot be replicated: Linux on generation 2 (docs/simulated-site.md).
  const vmNames = vms
    .map(({ name }) => name)
    .filter((name) => name !== 'app-01')
    .slice(0, options.vms);
  const system = await startSystem({ speed: 1, siteFolder, journal: false, azuriteAccessLog: true });
  try {
    const site = new SiteConnection(siteFolder);
    for (const vm of vmNames) await site.call('guest', { vm, kind: 'random', writesPerSecond: guestWritesPerSecond });
    const accessLog = new AccessLog(join(system.folder, 'data', 'azurite', 'azurite.log'));
    await protectAll(print, system, vmNames, accessLog);
    let speed = options.speed;
    let fastest: number | undefined;
    for (;;) {
      await setSpeed(system, speed);
      // The first cycles still carry what came together while the items were protected.
      await delay((intervalSeconds / speed) * 1000);
      const isInTime = await measure(print, system, { ...options, speed }, accessLog);
      if (isInTime) fastest = speed;
      if (!options.findSpeed || !isInTime || speed >= fastestSpeed) break;
      speed *= 2;
    }
    if (options.findSpeed) {
      print(`highest speed without a missed cycle: ${fastest ?? 'none'} (each speed is twice the one before)`);
    }
    for (const line of system.told.filter((told) => /stopped|again/.test(told))) print(`supervisor: ${line}`);
  } finally {
    await system.stop();
    await rm(preparing, { recursive: true, force: true });
  }
}

const itemsOf = async ({ table }: UnderstudySystem): Promise<ProtectedItem[]> =>
  (await list(table, rows.items(asVaultId(localVaultId)))).map(({ value }) => value);

async function protectAll(
  print: (line: string) => void,
  system: UnderstudySystem,
  vmNames: string[],
  accessLog: AccessLog,
): Promise<void> {
  const startedAt = performance.now();
  const seconds = () => Math.round((performance.now() - startedAt) / 1000);
  const [first, ...others] = vmNames;
  // Alone: it makes the policy and the mapping that the others share.
  if (first !== undefined) await system.protectVm(first, intervalSeconds);
  const atOnce = pLimit(protectionsAtOnce);
  const protecting = Promise.all(others.map((vm) => atOnce(() => system.protectVm(vm, intervalSeconds))));
  let mostUnderWay = 0;
  let lastLook = '';
  const pointed = eventually(
    'a first recovery point of every VM',
    firstPointTimeoutMs,
    async () => {
      await delay(2000);
      const items = await itemsOf(system);
      const pointCount = items.filter(({ state }) => state === 'Protected').length;
      mostUnderWay = Math.max(mostUnderWay, items.length - pointCount);
      lastLook = `${pointCount} of ${vmNames.length} have one`;
      return pointCount === vmNames.length ? true : undefined;
    },
    () => Promise.resolve(lastLook),
  );
  await protecting;
  const askedSeconds = seconds();
  await pointed;
  print(
    `${vmNames.length} VMs of ${diskSizeBytes / mib} MiB protected: all asked for after ${askedSeconds} s, ` +
      `all with a first recovery point after ${seconds()} s, at most ${mostUnderWay} under way at once`,
  );
  printCosts(print, await readUse(system), await accessLog.take(), vmNames.length, 'item');
}

async function setSpeed({ environment }: UnderstudySystem, speed: number): Promise<void> {
  const response = await fetch(`${environment.endpoint}/admin/devhost/clock`, {
    method: 'POST',
    body: JSON.stringify({ speed }),
  });
  if (!response.ok) throw new Error(`the clock refused speed ${speed}: ${await response.text()}`);
}

/** One stretch of time at one speed. Resolves with whether no cycle was missed. */
async function measure(
  print: (line: string) => void,
  system: UnderstudySystem,
  { minutes, speed, vms }: ManyVmsOptions,
  accessLog: AccessLog,
): Promise<boolean> {
  const lookMs = Math.max(shortestLookMs, (intervalSeconds * 1000) / speed / looksPerInterval);
  const missedBefore = await missedByVm(system);
  const [usedBefore, times] = [await readUse(system), new CycleTimes(await itemsOf(system))];
  await accessLog.take();
  const requests = noRequests();
  const startedAt = performance.now();
  const wallSeconds = (minutes * 60) / speed;
  while (performance.now() - startedAt < wallSeconds * 1000) {
    await delay(Math.min(lookMs, Math.max(0, wallSeconds * 1000 - (performance.now() - startedAt))));
    times.look(await itemsOf(system), await businessNow(system));
    const more = await accessLog.take();
    for (const kind of requestKinds) requests[kind] += more[kind];
  }
  const used = difference(await readUse(system), usedBefore);
  const missedAfter = await missedByVm(system);
  const missedBy = [...missedAfter].map(([vm, count]) => [vm, count - (missedBefore.get(vm) ?? 0)] as const);
  const missed = missedBy.reduce((total, [, count]) => total + count, 0);
  const found = times.summary();
  const expected = Math.floor((minutes * 60) / intervalSeconds);

  print(`\n${vms} VMs, ${minutes} min of business time at speed ${speed} (${Math.round(wallSeconds)} s)`);
  print(
    `cycles received: ${found.receivedCount} (each VM ${found.fewest} to ${found.most}; ${expected} intervals passed), ` +
      `applied: ${found.appliedCount}`,
  );
  print(
    `from log switch to log switch: ${seconds(found.gapSeconds.median)} in the median, ${seconds(found.gapSeconds.worst)} at worst; ` +
      `RPO at worst ${seconds(found.worstRpoSeconds)}; received but not yet applied, at worst ${seconds(found.worstApplyLagSeconds)} old`,
  );
  printCosts(print, used, requests, found.receivedCount, 'item and cycle', wallSeconds);
  const late = missedBy.filter(([, count]) => count > 0);
  // A cycle is due an interval after the one before, so that what each is late adds up: one may fall behind the window's end.
  const isInTime = missed === 0 && found.fewest >= expected - 1 && found.resyncCount === 0;
  if (found.resyncCount > 0) print(`items that need a resync: ${found.resyncCount}`);
  print(
    isInTime
      ? 'verdict: no missed cycle'
      : `verdict: ${missed} missed cycles of ${late.length} VMs (${late
          .slice(0, 5)
          .map(([vm, count]) => `${vm}: ${count}`)
          .join(', ')})`,
  );
  return isInTime;
}

const seconds = (value: number): string => `${Math.round(value)} s`;

async function businessNow({ environment }: UnderstudySystem): Promise<number> {
  const response = await fetch(`${environment.endpoint}/admin/devhost/clock`);
  return Date.parse(((await response.json()) as { now: string }).now);
}

/** The relay's own count: intervals that passed without a log switch of their own. */
async function missedByVm({ folder }: UnderstudySystem): Promise<Map<string, number>> {
  const status = await readStatus(join(folder, 'data', 'relay'));
  if (status === undefined) throw new Error('the relay has written no status');
  return new Map(status.items.map(({ vmName, missedCycleCount }) => [vmName, missedCycleCount]));
}

type Used = Record<ProcessName, ProcessUse>;

const difference = (after: Used, before: Used): Used =>
  Object.fromEntries(
    processNames.map((name) => [
      name,
      { ...after[name], cpuSeconds: after[name].cpuSeconds - before[name].cpuSeconds },
    ]),
  ) as Used;

function printCosts(
  print: (line: string) => void,
  used: Used,
  requests: RequestCounts,
  count: number,
  unit: string,
  wallSeconds?: number,
): void {
  const lines: Record<string, string | number>[] = processNames.map((name) => {
    const { cpuSeconds, rssMib, rssPeakMib, openFileCount, socketCount } = used[name];
    return {
      process: name,
      'cpu s': Math.round(cpuSeconds),
      ...(wallSeconds !== undefined && { '% of a core': Math.round((cpuSeconds / wallSeconds) * 100) }),
      [`cpu ms per ${unit}`]: Math.round((cpuSeconds * 1000) / count),
      'rss MiB': Math.round(rssMib),
      'peak MiB': Math.round(rssPeakMib),
      sockets: socketCount,
      files: openFileCount - socketCount,
    };
  });
  print(formatTable(lines, Object.keys(lines[0] ?? {})));
  const perUnit = (value: number) => (value / count).toFixed(1);
  const total = requestKinds.reduce((sum, kind) => sum + requests[kind], 0);
  print(
    `storage requests per ${unit}: ${perUnit(total)} (` +
      `${requestKinds.map((kind) => `${kind} ${perUnit(requests[kind])}`).join(', ')})` +
      (wallSeconds === undefined ? '' : `; ${Math.round(total / wallSeconds)} a second`),
  );
}
