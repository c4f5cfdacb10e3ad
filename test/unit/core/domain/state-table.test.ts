import assert from 'node:assert/strict';
import { test } from 'node:test';
import { armState } from '../../../../core/domain/protected-item/arm-state.js';
import {
  allowedOperations,
  nextState,
  operationStarts,
  protectionEvents,
  protectionStates,
  type ProtectionEvent,
  type ProtectionOperation,
  type ProtectionState,
} from '../../../../core/domain/protected-item/state-table.js';
import { asJobName } from '../../../../core/domain/ids.js';
import { sampleItem } from '../../../support/sample-item.js';

/** What the table must say, pair by pair; every pair that is not here is forbidden. */
const allowed: [ProtectionState, ProtectionEvent, ProtectionState][] = [
  ['EnablingProtection', 'protectionEnabled', 'InitialReplicationInProgress'],
  ['EnablingProtection', 'enablingFailed', 'EnablingFailed'],
  ['EnablingFailed', 'enablingStarted', 'EnablingProtection'],
  ['InitialReplicationInProgress', 'initialReplicationFinished', 'FinalizingProtection'],
  ['FinalizingProtection', 'protectionFinalized', 'Protected'],
  ['Protected', 'plannedFailoverStarted', 'PlannedFailoverInProgress'],
  ['PlannedFailoverInProgress', 'plannedFailoverFinished', 'FailoverCommitPending'],
  ['PlannedFailoverInProgress', 'plannedFailoverGivenBack', 'Protected'],
  ['Protected', 'unplannedFailoverStarted', 'UnplannedFailoverInProgress'],
  ['Protected', 'resyncStarted', 'Resynchronizing'],
  ['InitialReplicationInProgress', 'resyncStarted', 'InitialReplicationInProgress'],
  ['InitialReplicationInProgress', 'resyncFailed', 'InitialReplicationInProgress'],
  ['Resynchronizing', 'resyncFinished', 'Protected'],
  ['Resynchronizing', 'resyncFailed', 'Protected'],
  ['Resynchronizing', 'unplannedFailoverStarted', 'UnplannedFailoverInProgress'],
  ['UnplannedFailoverInProgress', 'unplannedFailoverRefusedInResync', 'Resynchronizing'],
  ['UnplannedFailoverInProgress', 'unplannedFailoverFinished', 'FailoverCommitPending'],
  ['UnplannedFailoverInProgress', 'unplannedFailoverRefused', 'Protected'],
  ['UnplannedFailoverInProgress', 'unplannedFailoverFailed', 'UnplannedFailoverFailed'],
  ['UnplannedFailoverFailed', 'unplannedFailoverStarted', 'UnplannedFailoverInProgress'],
  ['FailoverCommitPending', 'pointChangeStarted', 'PointChangeInProgress'],
  ['PointChangeInProgress', 'pointChangeEnded', 'FailoverCommitPending'],
  ['FailoverCommitPending', 'commitStarted', 'CommitInProgress'],
  ...(
    [
      'EnablingFailed',
      'InitialReplicationInProgress',
      'Protected',
      'Resynchronizing',
      'UnplannedFailoverFailed',
      'FailoverCommitPending',
      'FailoverCommitted',
      'FailbackCommitPending',
      'FailbackCommitted',
      'DisablingFailed',
    ] as const
  ).map((from): [ProtectionState, ProtectionEvent, ProtectionState] => [
    from,
    'disablingStarted',
    'DisablingProtection',
  ]),
  ['Protected', 'testFailoverStarted', 'Protected'],
  ...(
    ['Protected', 'Resynchronizing', 'UnplannedFailoverFailed', 'FailoverCommitPending', 'FailoverCommitted'] as const
  ).map((state): [ProtectionState, ProtectionEvent, ProtectionState] => [state, 'testFailoverCleanUpStarted', state]),
  ['FailoverCommitPending', 'migrationCompletionStarted', 'DisablingProtection'],
  ['FailoverCommitted', 'migrationCompletionStarted', 'DisablingProtection'],
  ['DisablingProtection', 'disablingFailed', 'DisablingFailed'],
  ['FailoverCommitted', 'failbackStarted', 'FailbackInProgress'],
  ['FailbackInProgress', 'failbackFinished', 'FailbackCommitPending'],
  ['FailbackInProgress', 'failbackGivenBack', 'FailoverCommitted'],
  ['FailbackCommitPending', 'commitStarted', 'FailbackCommitInProgress'],
  ['FailbackCommitInProgress', 'commitFinished', 'FailbackCommitted'],
  ['FailbackCommitInProgress', 'commitFailed', 'FailbackCommitPending'],
  ['FailbackCommitted', 'reverseReplicationStarted', 'ReverseReplicationInProgress'],
  ['ReverseReplicationInProgress', 'reverseReplicationFinished', 'Protected'],
  ['ReverseReplicationInProgress', 'reverseReplicationFailed', 'FailbackCommitted'],
  ['CommitInProgress', 'commitFinished', 'FailoverCommitted'],
  ['CommitInProgress', 'commitFailed', 'FailoverCommitPending'],
];

test('every pair of state and event leads where the table says, or nowhere', () => {
  for (const from of protectionStates) {
    for (const event of protectionEvents) {
      const expected = allowed.find(([state, name]) => state === from && name === event)?.[2];
      assert.equal(nextState(from, event), expected, `${from} × ${event}`);
    }
  }
});

const resyncRequired = { reason: 'hostCrash', message: 'the host crashed', at: '2026-01-05T10:00:00Z' };

test('every pair of state and operation is allowed exactly where its first event is, and never beside a running job', () => {
  const operations = Object.keys(operationStarts) as ProtectionOperation[];
  for (const state of protectionStates) {
    for (const operation of operations) {
      // A planned failover loses nothing: an item that must be resynchronized has none. A clean-up has a test VM.
      const expected =
        !['PlannedFailover', 'TestFailoverCleanup'].includes(operation) &&
        allowed.some(([from, event]) => from === state && event === operationStarts[operation]);
      const waiting = { state, replication: { resyncRequired } };
      assert.equal(allowedOperations(waiting).includes(operation), expected, `${state} × ${operation}`);
    }
    assert.deepEqual(allowedOperations({ state, activeJob: {}, replication: { resyncRequired } }), []);
  }
  assert.deepEqual(allowedOperations({ state: 'Protected', replication: {} }), [
    'TestFailover',
    'PlannedFailover',
    'UnplannedFailover',
    'RepairReplication',
    'DisableProtection',
  ]);
  assert.deepEqual(allowedOperations({ state: 'FailoverCommitPending', replication: {} }), [
    'Commit',
    'ChangePit',
    'CompleteMigration',
    'DisableProtection',
  ]);
});

test('a base that is being sent is begun anew only when it must be, and one resynchronization runs at a time', () => {
  assert.deepEqual(allowedOperations({ state: 'InitialReplicationInProgress', replication: {} }), [
    'DisableProtection',
  ]);
  const broken = { state: 'InitialReplicationInProgress', replication: { resyncRequired } } as const;
  assert.deepEqual(allowedOperations(broken), ['RepairReplication', 'DisableProtection']);
  const resync = { jobName: asJobName('job'), startedAt: '2026-01-05T10:00:00Z', cause: 'requested' };
  assert.deepEqual(allowedOperations({ state: 'Protected', replication: { resync } }), [
    'TestFailover',
    'UnplannedFailover',
    'DisableProtection',
  ]);
});

test('beside a test VM replication is mended, a disaster may strike, and the test is cleaned up: nothing else', () => {
  for (const state of protectionStates) {
    for (const test of ['inProgress', 'takingBack', 'waiting', 'cleaningUp']) {
      const wanted = ['UnplannedFailover', 'RepairReplication', ...(test === 'waiting' ? ['TestFailoverCleanup'] : [])];
      const without = allowedOperations({ state, replication: {} });
      const beside = allowedOperations({ state, replication: {}, testFailover: { state: test } });
      const mayCleanUp = nextState(state, 'testFailoverCleanUpStarted') !== undefined && test === 'waiting';
      assert.deepEqual(
        new Set(beside),
        new Set([...without.filter((name) => wanted.includes(name)), ...(mayCleanUp ? ['TestFailoverCleanup'] : [])]),
        `${state}, ${test}`,
      );
    }
  }
});

test('every state is reached, and every state is left', () => {
  for (const state of protectionStates) {
    if (state !== 'EnablingProtection')
      assert(
        allowed.some(([, , to]) => to === state),
        `${state} is never reached`,
      );
    assert(
      allowed.some(([from]) => from === state),
      `${state} is never left`,
    );
  }
});

test('every state has the name that clients know', () => {
  const names = protectionStates.map((state) => armState(sampleItem({ state })).protectionState);
  assert(names.every((name) => name !== ''));
  assert.equal(armState(sampleItem({ state: 'Protected' })).protectionStateDescription, 'Protected');
  assert.equal(armState(sampleItem({ state: 'FailoverCommitPending' })).activeLocation, 'Recovery');
  const sent = sampleItem({
    disks: sampleItem().disks.map((disk) => ({ ...disk, baseReceivedThroughBytes: disk.sourceSizeBytes })),
  });
  assert.equal(armState(sent).protectionState, 'InitialReplicationRecoveryCompletionPending');
});
