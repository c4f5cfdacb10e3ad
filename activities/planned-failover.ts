import { hasRelayContact } from '../core/domain/health/contact.js';
import { mayWork } from '../core/domain/protected-item/active-job.js';
import type { VaultId } from '../core/domain/ids.js';
import type { ProtectedItem, ReplicationProgress } from '../core/domain/protected-item/protected-item.js';
import type { WorkflowFailure } from '../core/domain/workflows/failure.js';
import { read } from '../core/records/access.js';
import { changeItem, owned } from '../core/records/item-change.js';
import { rows } from '../core/records/rows.js';
import { done, superseded, type Activity, type ActivityDependencies } from './activity.js';
import type { activities } from './contract.js';
import { beginUndoing, deleteFailover, unpinPoints } from './failover.js';
import { targetFailures } from './target-failures.js';
import { isCancelWanted, refusals } from './failures.js';
import { readFailoverSource, warnOfSource } from './failover-source.js';

type Needs = Pick<ActivityDependencies, 'table' | 'clock'>;

/** Every reason why no write would surely come over, before the source is touched. */
export const makeCheckPlannedFailover =
  ({
    table,
    clock,
    cloudInventory,
    compute,
  }: Needs & Pick<ActivityDependencies, 'cloudInventory' | 'compute'>): Activity<
    typeof activities.checkPlannedFailover
  > =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    const refused = refusals(owned(stored, input) ? stored.value : undefined, input);
    if (!stored || refused.length > 0) return { kind: 'failed', failures: refused };
    const item = stored.value;
    const failoverSource = await readFailoverSource(table, input.vaultId, item);
    const failures = [
      ...hindrances(item),
      ...((await hasContact({ table, clock }, input.vaultId, item)) ? [] : [noContact(item)]),
      ...(await targetFailures({ cloudInventory, compute }, item, failoverSource)),
    ];
    await warnOfSource({ table, clock, cloudInventory }, input, item, failoverSource);
    return failures.length === 0 ? { kind: 'met' } : { kind: 'failed', failures };
  };

/** From here on the source may be locked by this job; what lifts the lock again is that the row no longer names it. */
export const makeLockSource =
  ({ table }: Pick<ActivityDependencies, 'table'>): Activity<typeof activities.lockSource> =>
  async (input) => {
    const change = await changeItem(table, input, (item) => {
      if (!mayWork(item, input.jobName)) return { kind: 'superseded' };
      if (item.replication.sourceLock === input.jobName) return { kind: 'unchanged' };
      const replication: ReplicationProgress = { ...item.replication, sourceLock: input.jobName };
      return { kind: 'changed', item: { ...item, replication } };
    });
    return change.kind === 'superseded' ? superseded : done;
  };

export const makeReadFinalCycle =
  ({ table, clock }: Needs): Activity<typeof activities.readFinalCycle> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    const refused = refusals(owned(stored, input) ? stored.value : undefined, input);
    if (!stored || refused.length > 0) return { kind: 'failed', failures: refused };
    const item = stored.value;
    if (await isCancelWanted(table, input)) return { kind: 'cancelled' };
    const failures = hindrances(item);
    if (failures.length > 0) return { kind: 'failed', failures };
    const { finalCycle, appliedCycle } = item.replication;
    if (finalCycle !== undefined && appliedCycle >= finalCycle) return { kind: 'applied', cycle: finalCycle };
    // What arrived is applied without the relay.
    if (finalCycle === undefined && !(await hasContact({ table, clock }, input.vaultId, item))) {
      return { kind: 'failed', failures: [noContact(item)] };
    }
    return { kind: 'waiting' };
  };

/**
 * Takes back what a planned failover made and lifts the source's lock by naming it no more. Where the disks were taken over
 * already they hold just what the source holds: replication goes on from there, in the failover's own epoch.
 */
export const makeGiveBackPlannedFailover =
  ({
    table,
    replicas,
    compute,
  }: Pick<ActivityDependencies, 'table' | 'replicas' | 'compute'>): Activity<
    typeof activities.giveBackPlannedFailover
  > =>
  async (input) => {
    const stored = await beginUndoing(table, input);
    if (!stored) return superseded;
    // The source runs again only when nothing of the failover runs any more.
    await deleteFailover({ table, replicas, compute }, input, stored.value);
    await changeItem(table, input, (item) =>
      item.replication.sourceLock === input.jobName
        ? { kind: 'changed', item: { ...item, replication: givenBack(item.replication, input.jobName) } }
        : { kind: 'unchanged' },
    );
    await unpinPoints(table, input);
    return done;
  };

function givenBack(replication: ReplicationProgress, jobName: string): ReplicationProgress {
  const { sourceLock: _, finalCycle: _final, ...kept } = replication;
  if (kept.phase !== 'stopped' || kept.ownedBy !== jobName) return kept;
  const { stopReason: _reason, ownedBy: _owner, checksums: _checksums, ...rest } = kept;
  return { ...rest, phase: 'delta' };
}

export async function hasContact(
  { table, clock }: Needs,
  vaultId: VaultId,
  item: ProtectedItem,
  silenceSeconds?: number,
): Promise<boolean> {
  const fabric = await read(table, rows.fabric(vaultId, item.fabricName));
  return hasRelayContact(item, fabric?.value.lastHeartbeatAt, await clock.now(), silenceSeconds);
}

/** What stands in the way of the source's last writes. */
function hindrances({ vmName, replication }: ProtectedItem): WorkflowFailure[] {
  const { phase, resync, resyncRequired, torn, paused } = replication;
  const blocking = [replication.relayError, replication.lastError].find((error) => error?.blocking === true);
  const failures: WorkflowFailure[] = [];
  if (phase !== 'delta' || resync !== undefined || resyncRequired !== undefined || torn) {
    failures.push({
      code: 'US4012',
      message: `the replica of ${vmName} is not whole: ${resyncRequired?.message ?? 'it is being resynchronized'}`,
      possibleCauses: 'Changes of the source were lost, so that the replica lacks some until it is resynchronized.',
      recommendedAction: 'Resynchronize the item, then run the planned failover again.',
      retry: 'never',
    });
  }
  if (paused) {
    failures.push({
      code: 'US4013',
      message: `replication of ${vmName} is paused, so that its last changes would not be sent`,
      possibleCauses: 'An operator paused it.',
      recommendedAction: 'Resume replication, then run the planned failover again.',
      retry: 'never',
    });
  }
  if (blocking !== undefined) {
    const { code, message, recommendedAction } = blocking;
    failures.push({
      code: 'US4014',
      message: `replication of ${vmName} does not go on: ${message} (${code})`,
      possibleCauses: 'An error stands that only an operator can mend.',
      recommendedAction: `${recommendedAction} Then resume replication and run the planned failover again.`,
      retry: 'never',
    });
  }
  return failures;
}

export const noContact = ({ vmName }: ProtectedItem): WorkflowFailure => ({
  code: 'US4015',
  message: `the relay of ${vmName} has not been heard of for five minutes`,
  possibleCauses: 'The relay is stopped, its machine is down, or the line between the site and Azure is cut.',
  recommendedAction:
    'Bring the relay back and run the operation again; for a failover, where the site is lost, run an unplanned one.',
  retry: 'never',
});
