import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, test } from 'node:test';
import { BusinessClock } from '../../../devhost/clock/business-clock.js';
import { parseDurationMs } from '../../../devhost/clock/duration.js';

const folders: string[] = [];
after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

function clockFile(): string {
  const folder = mkdtempSync(join(tmpdir(), 'understudy-clock-'));
  folders.push(folder);
  return join(folder, 'clock.json');
}

test('business time runs at its speed and moves by what it is advanced', () => {
  let wall = 1_000_000;
  const clock = new BusinessClock({ file: clockFile(), speed: 60, wallNow: () => wall });
  const start = clock.now();
  wall += 1000;
  assert.equal(clock.now() - start, 60_000);
  clock.advance(30 * 60_000);
  assert.equal(clock.now() - start, 31 * 60_000);
  clock.close();
});

test('another speed holds from the moment it is set', () => {
  let wall = 1_000_000;
  const clock = new BusinessClock({ file: clockFile(), speed: 1, wallNow: () => wall });
  const start = clock.now();
  wall += 1000;
  clock.setSpeed(10);
  assert.equal(clock.now() - start, 1000);
  wall += 1000;
  assert.equal(clock.now() - start, 11_000);
  clock.close();
});

test('business time never goes backwards: over restarts, at another speed, with the wall clock set back', () => {
  const file = clockFile();
  let wall = 1_000_000;
  const first = new BusinessClock({ file, speed: 10, wallNow: () => wall });
  first.advance(86_400_000);
  wall += 5000;
  const before = first.now();
  wall -= 4000;
  assert.equal(first.now(), before);
  first.close();

  wall += 1000;
  const second = new BusinessClock({ file, speed: 1, wallNow: () => wall });
  const later = second.now();
  assert.ok(later >= before, `${later} is before ${before}`);
  wall += 7;
  assert.equal(second.now(), later + 7);
  // Killed without a last save, and the wall clock set back by an hour meanwhile.
  wall -= 3_600_000;
  const third = new BusinessClock({ file, speed: 1, wallNow: () => wall });
  assert.ok(third.now() >= later);
  second.close();
  third.close();
});

test('a callback comes at its time, in order, never early, and at once after an advance', async (t) => {
  const clock = new BusinessClock({ file: clockFile(), speed: 1 });
  t.after(() => clock.close());
  const fired: string[] = [];
  const start = clock.now();
  clock.schedule(start + 40, () => fired.push(`soon ${clock.now() >= start + 40}`));
  const monthMs = 31 * 86_400_000;
  clock.schedule(start + monthMs, () => fired.push(`in a month ${clock.now() >= start + monthMs}`));
  clock.schedule(start + monthMs - 1000, () => fired.push('just before'));
  const cancel = clock.schedule(start + 10, () => fired.push('cancelled'));
  cancel();
  await sleep(120);
  assert.deepEqual(fired, ['soon true']);
  clock.advance(monthMs);
  await sleep(20);
  assert.deepEqual(fired, ['soon true', 'just before', 'in a month true']);
});

test('a callback may be scheduled in the past, and within a callback', async (t) => {
  const clock = new BusinessClock({ file: clockFile(), speed: 1000 });
  t.after(() => clock.close());
  const done = new Promise<void>((resolve) => {
    clock.schedule(0, () => clock.schedule(clock.now() + 1000, resolve));
  });
  await done;
});

test('durations are ISO 8601 of exact units', () => {
  assert.equal(parseDurationMs('PT30M'), 1_800_000);
  assert.equal(parseDurationMs('P1DT2H3M4.5S'), 93_784_500);
  assert.equal(parseDurationMs('P2W'), 1_209_600_000);
  for (const bad of ['', 'P', 'PT', 'P1DT', '30M', 'PT-5M', 'P1M', 'P1Y', 'PT1H ']) {
    assert.throws(() => parseDurationMs(bad), /ISO 8601/, bad);
  }
});
