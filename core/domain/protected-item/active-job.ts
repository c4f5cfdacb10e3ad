import type { JobName } from '../ids.js';
import type { WorkflowFailure } from '../workflows/failure.js';
import type { ProtectedItem } from './protected-item.js';

/** The job may change the item: it is the one that runs, and it has not begun to take back what it did. */
export const mayWork = ({ activeJob }: Pick<ProtectedItem, 'activeJob'>, jobName: JobName): boolean =>
  activeJob?.jobName === jobName && activeJob.undone === undefined;

/**
 * The job takes back what it did, and never goes on: a workflow that ended before its job did is begun again from the start,
 * and a second run of an activity may come a quarter of an hour late. Undefined where the job has ended: what it made stands.
 */
export function undoing(item: ProtectedItem, jobName: JobName, failures: WorkflowFailure[]): ProtectedItem | undefined {
  const { activeJob } = item;
  if (activeJob?.jobName !== jobName) return undefined;
  return activeJob.undone === undefined ? { ...item, activeJob: { ...activeJob, undone: failures } } : item;
}
