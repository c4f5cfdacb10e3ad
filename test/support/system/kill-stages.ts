import assert from 'node:assert/strict';
import { asVaultId } from '../../../core/domain/ids.js';
import type { ProtectedItem } from '../../../core/domain/protected-item/protected-item.js';
import { list } from '../../../core/records/access.js';
import { rows } from '../../../core/records/rows.js';
import { localVaultId } from '../../../scripts/supervisor/environment.js';
import { killsByWorkflow } from './host-kills.js';
import { leftovers } from './leftovers.js';
import { eventually, logTail, type UnderstudySystem } from './understudy-system.js';

const vaultId = asVaultId(localVaultId);
const stageTimeoutMs = 600_000;
/** A request that was answered by nobody may have been taken all the same: so long it is not repeated. */
const againMs = 5000;
/** The shortest of the workflows has four turns or five. */
const killsOfStageMin = 3;

/** An operation on one item or on a plan of several, while the host is killed again and again. */
export interface Stage {
  /** The orchestrator that carries it out: the host must have been killed after its turns. */
  workflow: string;
  vms: readonly string[];
  begin(): Promise<unknown>;
  /** Gets the items' rows; undefined for one that is gone. */
  isDone(items: (ProtectedItem | undefined)[]): boolean;
}

/** Begins it, whatever dies meanwhile, waits for its end, and sees that nothing was left behind. */
export async function carryOut(system: UnderstudySystem, stage: Stage): Promise<void> {
  const { workflow, vms } = stage;
  const startedAt = Date.now();
  const killsBefore = await killsByWorkflow(system);
  const present = async (): Promise<(ProtectedItem | undefined)[]> => {
    const items = (await list(system.table, rows.items(vaultId))).map(({ value }) => value);
    return vms.map((vm) => items.find(({ vmName }) => vmName === vm));
  };
  let begunAt = 0;
  await eventually(
    `${workflow} of ${vms.join(', ')} to be done`,
    stageTimeoutMs,
    async () => {
      if ((await jobs(system)).some(({ state }) => state === 'InProgress' || state === 'NotStarted')) return undefined;
      if (stage.isDone(await present())) return true;
      if (Date.now() - begunAt > againMs) {
        begunAt = Date.now();
        await stage.begin();
      }
      return undefined;
    },
    async () =>
      `${JSON.stringify(await jobs(system))} ${JSON.stringify(await present())} ${await logTail(system, 'devhost')} ${await logTail(system, 'relay')}`,
  );
  let left: string[] = [];
  await eventually(
    `nothing to be left behind by ${workflow}`,
    60_000,
    async () => {
      left = await leftovers(system);
      return left.length === 0 ? true : undefined;
    },
    () => Promise.resolve(left.join('\n')),
  );
  const kills = [...(await killsByWorkflow(system))]
    .map(([name, count]) => [name, count - (killsBefore.get(name) ?? 0)] as const)
    .filter(([, count]) => count > 0);
  const seconds = ((Date.now() - startedAt) / 1000).toFixed(0);
  console.log(`${workflow}: ${seconds} s, killed after turns of ${kills.map((each) => each.join(' ')).join(', ')}`);
  const ofStage = kills.find(([name]) => name === workflow)?.[1] ?? 0;
  assert.ok(ofStage >= killsOfStageMin, `the host was killed at the boundaries of ${workflow}: ${ofStage} times`);
}

export const jobs = async (system: UnderstudySystem) =>
  (await list(system.table, rows.jobs(vaultId))).map(({ value }) => value);

/** Kills made nothing fail, and nothing be done twice. */
export async function assertJobs(system: UnderstudySystem, expected: readonly string[]): Promise<void> {
  const found = await jobs(system);
  assert.deepEqual(
    found
      .filter(({ state }) => state !== 'Succeeded')
      .map(({ scenarioName, state, errors }) => [scenarioName, state, errors]),
    [],
  );
  const names = found.map(({ scenarioName }) => scenarioName);
  assert.deepEqual(names.filter((name) => expected.includes(name)).sort(), [...expected].sort());
}
