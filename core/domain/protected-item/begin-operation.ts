import type { JobName } from '../ids.js';
import type { ProtectedItem } from './protected-item.js';
import { nextState, operationStarts, type ProtectionOperation } from './state-table.js';

/** The item as it is while the operation's job runs. The caller has checked that the operation is allowed. */
export const begun = (
  item: ProtectedItem,
  operation: ProtectionOperation,
  { jobName, scenarioName, startedAt }: { jobName: JobName; scenarioName: string; startedAt: string },
): ProtectedItem => ({
  ...item,
  state: nextState(item.state, operationStarts[operation]) ?? item.state,
  activeJob: { jobName, scenarioName, startedAt },
});
