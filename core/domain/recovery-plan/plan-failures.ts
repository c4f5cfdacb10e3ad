import type { WorkflowFailure } from '../workflows/failure.js';

/** How runs of recovery plans fail (docs/errors.md). */
export const noSuchItem = (itemId: string): WorkflowFailure => ({
  code: 'US4030',
  message: `item ${itemId} of the plan is not there any more`,
  possibleCauses: 'Replication of the virtual machine was disabled after the plan was made.',
  recommendedAction: 'Take the item out of the plan, or protect the virtual machine again and put it back.',
  retry: 'never',
});

export const itemRefused = (vmName: string, operation: string, state: string): WorkflowFailure => ({
  code: 'US4031',
  message: `${operation} is not allowed for ${vmName}, which is ${state}`,
  possibleCauses: 'Another job runs on it, or it is in another state than the rest of the plan.',
  recommendedAction: 'Bring it into the state of the others, or take it out of the plan; then run the plan again.',
  retry: 'never',
});

/** One for each item that failed, with what its own job failed by. */
export const itemFailed = (vmName: string, jobName: string, cause: WorkflowFailure | undefined): WorkflowFailure => ({
  code: 'US4032',
  message: `${vmName} failed: ${cause === undefined ? 'see its job' : `${cause.message} (${cause.code})`}; its job is ${jobName}`,
  possibleCauses: cause?.possibleCauses ?? 'The item’s job tells.',
  recommendedAction: `${cause?.recommendedAction ?? 'See the item’s job.'} Then run the plan again: what is done is passed over.`,
  retry: 'never',
});

/** What an item that had nothing against it is told when its plan stops. */
export const planStopped: WorkflowFailure = {
  code: 'US4033',
  message: 'the recovery plan stopped before this virtual machine’s turn to start, and gave it back',
  possibleCauses: 'Another virtual machine or an action of the plan failed, or the run was cancelled.',
  recommendedAction: 'See the plan’s job, mend what it names, and run the plan again.',
  retry: 'never',
};

export const webhookRefused = (actionName: string, status: number): WorkflowFailure => ({
  code: 'US4034',
  message: `the runbook of action '${actionName}' answered with status ${status}`,
  possibleCauses: 'The runbook failed, or its webhook was disabled or has expired.',
  recommendedAction: 'See the runbook’s own log, mend it, and run the plan again.',
  retry: 'never',
});

export const runbookGone = (actionName: string): WorkflowFailure => ({
  code: 'US4037',
  message: `the runbook of action '${actionName}' has no address in its plan any more`,
  possibleCauses: 'The plan’s row was changed outside of Understudy while it ran.',
  recommendedAction: 'Save the plan again with the address, and run it again.',
  retry: 'never',
});

export const actionFailed = (actionName: string, cause: WorkflowFailure): WorkflowFailure => ({
  ...cause,
  message: `action '${actionName}' failed: ${cause.message}`,
});

export const scriptRelayMissing = (scriptName: string): WorkflowFailure => ({
  code: 'US4035',
  message: `script '${scriptName}' cannot be run: no relay speaks for the plan’s site`,
  possibleCauses: 'The fabric was removed.',
  recommendedAction: 'Register a relay for the site, and run the plan again.',
  retry: 'never',
});

export const scriptSilent = (scriptName: string, seconds: number): WorkflowFailure => ({
  code: 'US4036',
  message: `the relay did not answer about script '${scriptName}' within ${seconds} s`,
  possibleCauses: 'The relay is stopped, its machine is down, or the line between the site and Azure is cut.',
  recommendedAction: 'See whether the script ran there, bring the relay back, and run the plan again.',
  retry: 'never',
});
