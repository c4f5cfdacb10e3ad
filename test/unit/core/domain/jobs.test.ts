import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asJobName } from '../../../../core/domain/ids.js';
import { jobKinds, type Job } from '../../../../core/domain/jobs/job.js';
import { jobNameAt } from '../../../../core/domain/jobs/job-name.js';
import {
  endJob,
  hasEnded,
  plannedTasks,
  startTask,
  succeedJob,
  warnInJob,
} from '../../../../core/domain/jobs/transitions.js';
import { failureFromError, failureOf, failureToError } from '../../../../core/domain/workflows/failure.js';
import { UnderstudyError } from '../../../../core/domain/errors.js';

const jobName = asJobName('01900000-0000-7000-8000-000000000001');
const job: Job = {
  jobName,
  scenarioName: 'EnableDr',
  friendlyName: 'Enable replication',
  state: 'NotStarted',
  tasks: plannedTasks(jobName, jobKinds.enableProtection),
  errors: [],
  createdAt: 't0',
  targetResourceId: '',
  targetObjectName: '',
  intent: { orchestrator: 'x', input: {} },
};
const failure = {
  code: 'US3101',
  message: 'off',
  possibleCauses: 'c',
  recommendedAction: 'a',
  retry: 'never' as const,
};
const states = (of: Job): string[] => of.tasks.map(({ state }) => state);

test('all tasks are listed up front as not started', () => {
  assert.deepEqual(
    states(job),
    Array.from({ length: 5 }, () => 'NotStarted'),
  );
  assert.equal(new Set(job.tasks.map(({ taskId }) => taskId)).size, 5);
});

test('a task that starts ends those before it, and starting it again changes nothing', () => {
  const first = startTask(job, 'EnableProtectionPrerequisitesCheck', 't1');
  assert.equal(first.state, 'InProgress');
  const third = startTask(first, 'EnableProtection', 't2');
  assert.deepEqual(states(third), ['Succeeded', 'Succeeded', 'InProgress', 'NotStarted', 'NotStarted']);
  assert.equal(third.tasks[0]?.endedAt, 't2');
  assert.equal(startTask(third, 'EnableProtection', 't3'), third);
  assert.equal(startTask(third, 'EnableProtectionPrerequisitesCheck', 't3'), third, 'a late repeat moves nothing back');
  assert.throws(() => startTask(job, 'nothing', 't1'), RangeError);
});

test('success ends every task, failure the running one only, and an ended job never changes', () => {
  const running = startTask(job, 'EnableProtection', 't1');
  const succeeded = succeedJob(running, 't2');
  assert.deepEqual(
    states(succeeded),
    Array.from({ length: 5 }, () => 'Succeeded'),
  );
  const failed = endJob(running, 'Failed', [failure, failure], 't2');
  assert.deepEqual(states(failed), ['Succeeded', 'Succeeded', 'Failed', 'NotStarted', 'NotStarted']);
  assert.equal(failed.errors.length, 2);
  assert.equal(failed.errors[0]?.taskId, running.tasks[2]?.taskId);
  for (const ended of [succeeded, failed]) {
    assert(hasEnded(ended));
    assert.equal(startTask(ended, 'UpdateDraState', 't9'), ended);
    assert.equal(succeedJob(ended, 't9'), ended);
    assert.equal(endJob(ended, 'Failed', [failure], 't9'), ended);
    assert.equal(warnInJob(ended, failure, 't9'), ended);
  }
});

test('a warning is shown once', () => {
  const warned = warnInJob(startTask(job, 'EnableProtection', 't1'), failure, 't2');
  assert.equal(warned.errors.length, 1);
  assert.equal(warnInJob(warned, failure, 't3'), warned);
});

test('job names are UUIDs of version 7 that sort by time', () => {
  const guid = 'ffffffff-ffff-4fff-bfff-ffffffffffff';
  const names = [0, 1, 1_700_000_000_000, 1_700_000_000_001, 2 ** 48 - 1].map((at) => jobNameAt(at, guid));
  assert.deepEqual([...names].sort(), names);
  for (const name of names) assert.match(name, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(jobNameAt(5, guid), jobNameAt(5, guid));
  assert.throws(() => jobNameAt(-1, guid), RangeError);
  assert.throws(() => jobNameAt(1, 'no guid'), RangeError);
});

test('a failure comes through history as the activity meant it, whatever the host wraps around it', () => {
  const error = new UnderstudyError({
    code: 'US4003',
    message: 'no such point\nof two lines',
    possibleCauses: 'c',
    recommendedAction: 'a',
    retry: 'never',
  });
  const thrown = failureToError(error);
  const wrapped = new Error(`Activity function 'x' failed: ${thrown.message} \n at somewhere`);
  assert.deepEqual(failureFromError(wrapped), failureOf(error));
  const unknown = failureFromError(new Error('ECONNRESET'));
  assert.deepEqual([unknown.code, unknown.retry], ['US3000', 'later']);
});
