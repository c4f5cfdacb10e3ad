import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Temporal } from 'temporal-polyfill';
import { UnderstudyError } from '../../../core/domain/errors.js';
import { Lane, type LaneStep } from '../../../relay/lane.js';
import { ManualClock } from '../../support/manual-clock.js';

const failing = (code: string) => new UnderstudyError({ code, message: 'no', recommendedAction: 'none' });
const networkCut = failing('US5110');
const vmNotFound = failing('US5005');
const quiet = { onFailure: () => undefined, onRecovered: () => undefined };
const failedAttempts = (lane: Lane) => lane.failure?.failedAttempts;
const settle = async () => {
  for (let turns = 0; turns < 20; turns++) await turn();
};

/** A lane whose every step fails or succeeds as `outcome` says, with the minutes at which steps started. */
function scriptedLane(outcome: { error: Error | undefined; attemptSeconds?: number }) {
  const clock = new ManualClock('2024-03-01T00:00:00Z');
  const startMinutes: number[] = [];
  let isDone = false;
  const lane = new Lane(
    clock,
    () => {
      if (isDone) return Promise.resolve<LaneStep>({ kind: 'rest' });
      return Promise.resolve<LaneStep>({
        kind: 'work',
        attempt: 'try',
        run: async () => {
          startMinutes.push((await clock.now()).since(Temporal.Instant.from('2024-03-01T00:00:00Z')).total('minutes'));
          if (outcome.attemptSeconds !== undefined) {
            await clock.waitUntil((await clock.now()).add({ seconds: outcome.attemptSeconds }));
          }
          if (outcome.error) throw outcome.error;
          isDone = true;
        },
      });
    },
    quiet,
  );
  const again = () => {
    isDone = false;
    lane.wake();
  };
  return { clock, lane, startMinutes, again };
}

test('recoverable failures are tried again at minutes 1, 3, 7, 15, 25, 55 and 85 of business time, to the second', async () => {
  const { clock, lane, startMinutes } = scriptedLane({ error: networkCut });
  await settle();
  for (let second = 0; second < 90 * 60; second++) {
    clock.advance(1);
    // A due attempt needs some turns; a second without one needs few.
    await turn();
    await turn();
  }
  await lane.stop();
  assert.deepEqual(startMinutes, [0, 1, 3, 7, 15, 25, 55, 85]);
});

test('an attempt that takes long is followed by the next at the time counted from its start', async () => {
  const { clock, lane, startMinutes } = scriptedLane({ error: networkCut, attemptSeconds: 45 });
  await settle();
  for (let step = 0; step < 8 * 60; step += 5) {
    clock.advance(5);
    await settle();
  }
  await lane.stop();
  assert.deepEqual(startMinutes, [0, 1, 3, 7]);
});

test('success forgets the failures', async () => {
  const outcome: { error: Error | undefined } = { error: networkCut };
  const { clock, lane, startMinutes, again } = scriptedLane(outcome);
  await settle();
  clock.advance(60);
  await settle();
  outcome.error = undefined;
  clock.advance(120);
  await settle();
  assert.ok(!lane.failure);
  outcome.error = networkCut;
  again();
  await settle();
  assert.equal(failedAttempts(lane), 1);
  await lane.stop();
  assert.deepEqual(startMinutes, [0, 1, 3, 3]);
});

test('renewed contact ends a wait at once, a mere change of the assignment does not', async () => {
  const { lane, startMinutes } = scriptedLane({ error: networkCut });
  await settle();
  lane.wake();
  await settle();
  assert.equal(startMinutes.length, 1);
  lane.retryNow();
  await settle();
  assert.equal(startMinutes.length, 2);
  await lane.stop();
});

test('what an operator must mend is not tried again by time, and at once when someone acts', async () => {
  const { clock, lane, startMinutes } = scriptedLane({ error: vmNotFound });
  await settle();
  assert.equal(lane.failure?.nextAttemptAt, undefined);
  for (let minute = 0; minute < 24 * 60; minute += 10) {
    clock.advance(600);
    await settle();
  }
  lane.wake();
  await settle();
  assert.deepEqual(startMinutes, [0]);
  lane.retryNow();
  await settle();
  assert.deepEqual(startMinutes, [0, 24 * 60]);
  await lane.stop();
});

test('an interrupted step is no failure, and the lane plans again', async () => {
  let runs = 0;
  const lane = new Lane(
    new ManualClock(),
    () =>
      Promise.resolve<LaneStep>(
        runs > 0
          ? { kind: 'rest' }
          : {
              kind: 'work',
              attempt: 'endless',
              run: (signal) =>
                new Promise((_, reject) => {
                  runs++;
                  signal.addEventListener('abort', () => {
                    reject(new Error('aborted'));
                  });
                }),
            },
      ),
    quiet,
  );
  await settle();
  assert.equal(lane.attempt, 'endless');
  lane.interrupt('paused');
  await settle();
  assert.equal(lane.failure, undefined);
  assert.equal(lane.attempt, undefined);
  await lane.stop();
});
