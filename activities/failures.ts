import type { WorkflowFailure } from '../core/domain/workflows/failure.js';

/** The item that a workflow works for is not there any more, or leads another life. */
export const gone = (itemId: string): WorkflowFailure => ({
  code: 'US3020',
  message: `item ${itemId} is no longer the one that this job was started for`,
  possibleCauses: 'Replication was disabled, enabled anew or failed over meanwhile.',
  recommendedAction: 'See the item’s present state and its other jobs.',
  retry: 'never',
});
