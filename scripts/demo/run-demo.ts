import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { HyperVReplicaAzureUnplannedFailoverInput } from '@azure/arm-recoveryservices-siterecovery';
import { protect } from '../../cli/protect.js';
import { formatTable } from '../../cli/table.js';
import { Vault, type FoundItem } from '../../cli/vault-client.js';
import { freePort } from '../supervisor/free-port.js';
import {
  localResourceGroup,
  localSubscriptionId,
  localVaultName,
  startEnvironment,
  type Environment,
} from '../supervisor/environment.js';
import { failBack, type ReturnedDisk } from './fail-back.js';
import { judgeFailover, type JudgedDisk } from './judge-failover.js';
import { runSite } from './run-site.js';

export interface DemoOptions {
  folder: string;
  signal: AbortSignal;
  tell: (message: string) => void;
}

/** Business time runs this much faster: a cycle of 30 s takes 3 s. */
const speed = 10;
const replicationIntervalSeconds = 30;
const vmNames = ['web-01', 'sql-01'];
/** Recovery points to wait for before the failover. */
const pointsWanted = 4;
/** Longer than this for one stage, and something is stuck. */
const stageTimeoutMs = 120_000;

/**
 * Protect, replicate, fail over, commit, compare; then fail back, commit, replicate again, and compare again. Resolves with whether
 * every disk equals its source.
 */
export async function runDemo(options: DemoOptions): Promise<boolean> {
  const startedAt = Date.now();
  const tell = (message: string): void => {
    options.tell(`${((Date.now() - startedAt) / 1000).toFixed(1).padStart(6)} s  ${message}`);
  };
  const port = await freePort();
  const dataFolder = join(options.folder, 'data');
  const siteFolder = join(options.folder, 'site');
  tell(`starting Azurite, the app, a simulated site and a relay (business time runs ${speed} times as fast)`);
  const environment = await startEnvironment({
    port,
    dataFolder,
    siteFolder,
    speed,
    withRelay: true,
    journal: true,
    tell,
  });
  try {
    const vault = new Vault({
      endpoint: environment.endpoint,
      subscriptionId: localSubscriptionId,
      resourceGroup: localResourceGroup,
      vaultName: localVaultName,
    });
    await protectAll(vault, siteFolder, tell);
    const replicated = await waitForPoints(vault, options.signal, tell);
    const rows = await failOverAndJudge(vault, environment, { ...options, dataFolder, siteFolder, tell }, replicated);
    options.tell('');
    options.tell(
      formatTable(rows, [
        'vm',
        'disk',
        'size MiB',
        'on disk MiB',
        'sent MiB',
        'points',
        'RPO s',
        'our reader',
        'qemu-img',
        'result',
      ]),
    );
    options.tell('');
    const returned: ReturnedDisk[] = [];
    for (const [vmName, { found }] of replicated) {
      const outFolder = join(options.folder, 'compare');
      const { signal } = options;
      returned.push(
        ...(await failBack({ vault, environment, found, vmName, dataFolder, siteFolder, outFolder, signal, tell })),
      );
    }
    options.tell('');
    options.tell(
      formatTable(returned, [
        'vm',
        'disk',
        'fetched MiB (VM)',
        'sent since MiB',
        'came back',
        'replicated again',
        'result',
      ]),
    );
    const all = [...rows, ...returned];
    const passed = rows.length > 0 && returned.length === rows.length && all.every((row) => row.result === 'identical');
    options.tell('');
    tell(`${passed ? 'every disk equals its source, there, back, and replicated again' : 'SOME DISKS DIFFER'}`);
    tell(
      `relay: ${await memoryOf(environment.processes.relay.pid)}; devhost: ${await memoryOf(environment.processes.devhost.pid)}`,
    );
    return passed;
  } finally {
    await environment.stop();
    tell('all processes stopped');
  }
}

async function protectAll(vault: Vault, siteFolder: string, tell: (message: string) => void): Promise<void> {
  await runSite(siteFolder, ['guest', '--vm', 'web-01', '--rate', '20', '--kind', 'random']);
  const group = `/subscriptions/${localSubscriptionId}/resourceGroups/${localResourceGroup}/providers`;
  for (const vmName of vmNames) {
    const item = await protect(vault, {
      vmName,
      policyName: 'default',
      replicationIntervalSeconds,
      storageAccountId: `${group}/Microsoft.Storage/storageAccounts/replicas`,
      networkId: `${group}/Microsoft.Network/virtualNetworks/prod`,
      tell,
    });
    tell(`${vmName}: ${item.properties?.protectionStateDescription}`);
  }
}

interface Replicated {
  found: FoundItem;
  pointCount: number;
  rpoSeconds: number | undefined;
}

/** Shows progress until every item is protected and has recovery points enough. */
async function waitForPoints(
  vault: Vault,
  signal: AbortSignal,
  tell: (message: string) => void,
): Promise<Map<string, Replicated>> {
  const said = new Map<string, string>();
  const deadline = Date.now() + stageTimeoutMs;
  for (;;) {
    signal.throwIfAborted();
    const replicated = new Map<string, Replicated>();
    for (const found of await vault.items()) {
      const name = found.item.properties?.friendlyName ?? found.itemName;
      const state = found.item.properties?.protectionStateDescription;
      const points = (await vault.points(found)).length;
      const progress = found.details.initialReplicationDetails?.initialReplicationProgressPercentage;
      const line = `${name}: ${state}${progress && points === 0 ? `, ${progressBar(Number(progress))}` : ''}, ${points} recovery points`;
      if (said.get(name) !== line) tell(line);
      said.set(name, line);
      if (found.item.properties?.protectionState === 'Protected' && points >= pointsWanted) {
        replicated.set(name, { found, pointCount: points, rpoSeconds: found.details.rpoInSeconds });
      }
      if (found.item.properties?.replicationHealth === 'Critical') {
        const errors = found.item.properties.healthErrors?.map((error) => `${error.errorCode}: ${error.errorMessage}`);
        throw new Error(`${name} is Critical: ${errors?.join('; ')}`);
      }
    }
    if (replicated.size === vmNames.length) return replicated;
    if (Date.now() > deadline)
      throw new Error(`the items did not have ${pointsWanted} recovery points within ${stageTimeoutMs / 1000} s`);
    await delay(500, undefined, { signal });
  }
}

function progressBar(percent: number): string {
  const width = 20;
  const filled = Math.round((percent / 100) * width);
  return `[${'#'.repeat(filled)}${'.'.repeat(width - filled)}] ${percent}%`;
}

interface DemoRow extends Record<string, string | number | undefined> {
  vm: string;
  result: string;
}

async function failOverAndJudge(
  vault: Vault,
  environment: Environment,
  options: DemoOptions & { dataFolder: string; siteFolder: string },
  replicated: Map<string, Replicated>,
): Promise<DemoRow[]> {
  const rows: DemoRow[] = [];
  for (const [vmName, { found, pointCount, rpoSeconds }] of replicated) {
    options.signal.throwIfAborted();
    options.tell(`${vmName}: failing over to the latest recovery point`);
    const input: HyperVReplicaAzureUnplannedFailoverInput = {
      instanceType: 'HyperVReplicaAzure',
      recoveryPointId: 'Latest',
    };
    const item = await vault.sdk.replicationProtectedItems.beginUnplannedFailoverAndWait(
      ...vault.scope,
      found.fabricName,
      found.containerName,
      found.itemName,
      {
        properties: {
          failoverDirection: 'PrimaryToRecovery',
          sourceSiteOperations: 'NotRequired',
          providerSpecificDetails: input,
        },
      },
      { updateIntervalInMs: 250 },
    );
    options.tell(`${vmName}: ${item.properties?.protectionStateDescription}`);
    const committed = await vault.sdk.replicationProtectedItems.beginFailoverCommitAndWait(
      ...vault.scope,
      found.fabricName,
      found.containerName,
      found.itemName,
      { updateIntervalInMs: 250 },
    );
    options.tell(`${vmName}: ${committed.properties?.protectionStateDescription}`);
    const out = join(options.folder, 'compare', vmName);
    await mkdir(out, { recursive: true });
    const disks = await judgeFailover({
      environment,
      dataFolder: options.dataFolder,
      siteFolder: options.siteFolder,
      fabricName: found.fabricName,
      containerName: found.containerName,
      itemName: found.itemName,
      vmName,
      outFolder: out,
    });
    for (const disk of disks) rows.push(row(vmName, disk, pointCount, rpoSeconds));
  }
  return rows;
}

const mebibytes = (bytes: number): number => Math.round((bytes / 2 ** 20) * 10) / 10;

function row(vmName: string, disk: JudgedDisk, points: number, rpoSeconds: number | undefined): DemoRow {
  const ours = disk.firstDifferenceBytes === undefined ? 'identical' : `differs at ${disk.firstDifferenceBytes}`;
  return {
    vm: vmName,
    disk: disk.name,
    'size MiB': mebibytes(disk.sizeBytes),
    'on disk MiB': mebibytes(disk.sourceFileBytes),
    'sent MiB': mebibytes(disk.sentBytes),
    points,
    'RPO s': rpoSeconds,
    'our reader': ours,
    'qemu-img': disk.qemu === 'missing' ? 'not installed' : disk.qemu,
    result: ours === 'identical' && disk.qemu !== 'different' ? 'identical' : 'DIFFERENT',
  };
}

async function memoryOf(pid: number | undefined): Promise<string> {
  if (pid === undefined || process.platform !== 'linux') return 'memory unknown';
  const { readFile } = await import('node:fs/promises');
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const peak = /^VmHWM:\s+(\d+) kB/m.exec(status)?.[1];
  return peak === undefined ? 'memory unknown' : `${Math.round(Number(peak) / 1024)} MiB memory at its peak`;
}
