import type { Temporal } from 'temporal-polyfill';
import { jobFailureEvent } from '../domain/jobs/job-failure.js';
import type { VaultId } from '../domain/ids.js';
import type { Job } from '../domain/jobs/job.js';
import type { RowOperation } from '../ports/state-table.js';
import { insert, replace, type Stored } from './access.js';
import { eventNameOf, rows } from './rows.js';

/** A job's row as it is after its end, and together with a failure the event that tells of it. `now`: business time of the end. */
export function endedJobRows(vaultId: VaultId, stored: Stored<Job>, ended: Job, now: Temporal.Instant): RowOperation[] {
  const changed = ended === stored.value ? [] : [replace(stored, ended)];
  if (changed.length === 0 || ended.state !== 'Failed') return changed;
  const eventName = eventNameOf(now, `job-${ended.jobName}`);
  return [...changed, insert(rows.event(vaultId, eventName), { ...jobFailureEvent(ended), eventName })];
}
