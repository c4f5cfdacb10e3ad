import { Temporal } from 'temporal-polyfill';
import type { VaultId } from '../../core/domain/ids.js';
import type { Job } from '../../core/domain/jobs/job.js';
import { hasEnded } from '../../core/domain/jobs/transitions.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import { transactionOperationsMax } from '../../core/ports/state-table.js';
import { list, remove, type Stored } from '../../core/records/access.js';
import { rows } from '../../core/records/rows.js';
import type { AppInvocation } from '../app.js';

const jobsKeptHours = 30 * 24;

/**
 * Jobs that ended more than 30 days ago are forgotten, oldest first, one transaction a run; not those that a row still names, or
 * that are the run of a plan whose part has not ended. What is read of a vault each minute stays bounded by that.
 */
export async function forgetJobs(
  app: AppInvocation,
  vaultId: VaultId,
  jobs: readonly Stored<Job>[],
  items: readonly Stored<ProtectedItem>[],
): Promise<void> {
  const oldest = (await app.clock.now()).subtract({ hours: jobsKeptHours });
  const isOld = ({ endedAt }: Job): boolean =>
    endedAt !== undefined && Temporal.Instant.compare(Temporal.Instant.from(endedAt), oldest) < 0;
  const old = jobs.filter(({ value }) => hasEnded(value) && isOld(value));
  if (old.length === 0) return;
  const plans = await list(app.table, rows.plans(vaultId));
  const named = new Set<string | undefined>([
    ...items.flatMap(({ value }) => jobsNamedBy(value)),
    ...plans.map(({ value }) => value.activeJob?.jobName),
    ...jobs.filter(({ value }) => !hasEnded(value)).map(({ value }) => value.planJobName),
  ]);
  const forgotten = old.filter(({ value }) => !named.has(value.jobName)).slice(0, transactionOperationsMax);
  if (forgotten.length > 0) await app.table.transact(rows.jobs(vaultId).partition, forgotten.map(remove));
}

const jobsNamedBy = ({ activeJob, testFailover, failover, failback, replication }: ProtectedItem) => [
  activeJob?.jobName,
  testFailover?.jobName,
  testFailover?.cleanUpJobName,
  failover?.jobName,
  failover?.change?.jobName,
  failback?.jobName,
  replication.resync?.jobName,
];
