import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Temporal } from 'temporal-polyfill';
import { asItemId, asJobName } from '../../../../../core/domain/ids.js';
import { defaultReplicationSettings, isTimeZone } from '../../../../../core/domain/policy/replication-settings.js';
import type { ProtectedItem, ReplicationProgress } from '../../../../../core/domain/protected-item/protected-item.js';
import { planResyncs, type ResyncCandidate } from '../../../../../core/domain/resync-schedule/plan-resyncs.js';
import { sampleItem, sampleProgress } from '../../../../support/sample-item.js';

const night = Temporal.Instant.from('2026-01-05T22:00:00Z');
const day = Temporal.Instant.from('2026-01-05T12:00:00Z');
const ago = (seconds: number, now = night): string => now.subtract({ seconds }).toString();
const mark = { reason: 'logTooLarge', message: 'm', at: ago(3600) };
const resync = { jobName: asJobName('j'), startedAt: ago(60), cause: 'requested' };

const candidate = (
  id: string,
  changes: Partial<ReplicationProgress> = {},
  item: Partial<ProtectedItem> = {},
  siteTimeZone = 'Europe/Berlin',
): ResyncCandidate => ({
  item: sampleItem({
    itemId: asItemId(id),
    state: 'Protected',
    replication: sampleProgress({
      phase: 'delta',
      receivedTakenAt: ago(600),
      resyncRequired: mark,
      ...changes,
    }),
    ...item,
  }),
  siteTimeZone,
  relayHeardAt: ago(20),
});
const settings = (changes: Partial<typeof defaultReplicationSettings.resync> = {}) => ({
  resync: { ...defaultReplicationSettings.resync, ...changes },
});
const planned = (candidates: ResyncCandidate[], changes = {}, now = night): string[] =>
  planResyncs(candidates, settings(changes), now).map(({ itemId }) => itemId);

test('a marked item is begun within the window of its site, or at once where the vault says so, or never by itself', () => {
  const heard = { ...candidate('a'), relayHeardAt: ago(1, day) };
  assert.deepEqual(planned([candidate('a')]), ['a']);
  assert.deepEqual(planned([heard], {}, day), []);
  assert.deepEqual(planned([heard], { mode: 'immediate' }, day), ['a']);
  assert.deepEqual(planned([candidate('a')], { mode: 'manual' }), []);
});

test('the vault’s time zone goes before the site’s, and a site that names none of the database lives by UTC', () => {
  const at = Temporal.Instant.from('2026-01-05T18:00:00Z');
  const found = (zone: string, changes = {}) =>
    planned([{ ...candidate('a', {}, {}, zone), relayHeardAt: ago(1, at) }], changes, at);
  assert.deepEqual(found('Europe/Berlin'), ['a'], '19:00');
  assert.deepEqual(found('America/New_York'), [], '13:00');
  assert.deepEqual(found('America/New_York', { timeZone: 'Europe/Berlin' }), ['a']);
  assert.deepEqual(found('W. Europe Standard Time'), [], '18:00');
});

test('resynchronizations that nobody carries on take no other item’s place', () => {
  const moving = candidate('m', { resync });
  const stuck = [
    { ...candidate('s1', { resync }), relayHeardAt: ago(3600) },
    candidate('s2', { resync, paused: true }),
    candidate('s3', { resync, relayError: blocking }),
    candidate('s4', { resync, lastError: blocking }),
  ];
  assert.deepEqual(planned([...stuck, candidate('a'), candidate('b')], { atOnceMax: 1 }).length, 1);
  assert.deepEqual(planned([moving, candidate('a')], { atOnceMax: 1 }), []);
});

const blocking = { code: 'US5021', message: 'm', recommendedAction: 'r', at: ago(60), blocking: true };
const notReady: [string, ResyncCandidate][] = [
  ['nothing is wrong', candidate('a', { resyncRequired: undefined as never })],
  ['it is paused', candidate('a', { paused: true })],
  ['an operator must mend what the relay met', candidate('a', { relayError: blocking })],
  ['an operator must mend what the app met', candidate('a', { lastError: blocking })],
  ['one is under way', candidate('a', { resync })],
  ['a job runs on it', candidate('a', {}, { activeJob: { jobName: asJobName('j'), scenarioName: '', startedAt: '' } })],
  ['it failed over', candidate('a', {}, { state: 'FailoverCommitPending' })],
  ['the last attempt failed just now', candidate('a', { resyncRequired: { ...mark, nextAttemptAt: ago(-1) } })],
  ['its relay is silent', { ...candidate('a'), relayHeardAt: ago(301) }],
  ['its relay was never heard of', { ...candidate('a'), relayHeardAt: undefined }],
];
for (const [why, found] of notReady) {
  test(`an item is not resynchronized while ${why}`, () => {
    assert.deepEqual(planned([found, candidate('b')]), ['b']);
  });
}

test('a wait after a failed attempt ends to the second; a base that broke before it was whole counts as the worst RPO', () => {
  assert.deepEqual(planned([candidate('a', { resyncRequired: { ...mark, nextAttemptAt: ago(0) } })]), ['a']);
  const broken = candidate('z', {}, { state: 'InitialReplicationInProgress' });
  broken.item.replication.phase = 'initialReplication';
  assert.deepEqual(planned([candidate('a'), broken]), ['z', 'a']);
});

test('a window that ends begins no more, and leaves room as running ones end', () => {
  const closes = Temporal.Instant.from('2026-01-06T05:00:00Z');
  const candidates = [{ ...candidate('a'), relayHeardAt: ago(1, closes) }];
  assert.deepEqual(planned(candidates, {}, closes.subtract({ seconds: 1 })), ['a']);
  assert.deepEqual(planned(candidates, {}, closes), []);
});

test('never more than so many at once, running ones included, and always the worst RPO first', () => {
  const items = fc.array(
    fc.record({ rpo: fc.integer({ min: 0, max: 100_000 }), running: fc.boolean(), paused: fc.boolean() }),
    { maxLength: 12 },
  );
  fc.assert(
    fc.property(items, fc.integer({ min: 1, max: 6 }), (list, atOnceMax) => {
      const candidates = list.map(({ rpo, running, paused }, index) =>
        candidate(String(index), {
          receivedTakenAt: ago(rpo),
          paused,
          ...(running ? { resync } : {}),
        }),
      );
      const begun = planned(candidates, { atOnceMax });
      const runningCount = list.filter(({ running, paused }) => running && !paused).length;
      const waiting = list
        .filter(({ running, paused }) => !running && !paused)
        .map(({ rpo }) => rpo)
        .sort((a, b) => b - a);
      const room = Math.max(0, atOnceMax - runningCount);
      assert.deepEqual(
        begun.map((id) => list[Number(id)]?.rpo),
        waiting.slice(0, room),
      );
    }),
  );
});

test('time zones are names of the database: offsets and other texts are none', () => {
  assert.deepEqual(['Europe/Berlin', 'UTC', 'America/Argentina/Buenos_Aires', 'Etc/GMT+5'].map(isTimeZone), [
    true,
    true,
    true,
    true,
  ]);
  assert.deepEqual(
    ['Europe/Atlantis', '+02:00', '', 'W. Europe Standard Time', '2026-01-01T00:00Z[Europe/Berlin]'].map(isTimeZone),
    [false, false, false, false, false],
  );
});
