import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Temporal } from 'temporal-polyfill';
import { findAlerts, withBatch } from '../../../../core/domain/alerts/alerts.js';
import { contactEvent } from '../../../../core/domain/health/site-health.js';
import type { ReplicationEvent } from '../../../../core/domain/health/health-events.js';
import { eventNameOf } from '../../../../core/records/rows.js';

const start = Temporal.Instant.from('2026-01-05T10:00:00Z');
const none = { eventsThrough: eventNameOf(start, ''), pending: [] };

type Telling = Pick<ReplicationEvent, 'kind' | 'severity' | 'code'> & Partial<ReplicationEvent>;

const event = (seconds: number, index: number, itemId: string, telling: Telling): ReplicationEvent => {
  const at = start.add({ seconds });
  const about = { itemId, vmName: itemId, fabricName: 'f', containerName: 'c', at: at.toString() };
  const words = { description: '', message: telling.code, possibleCauses: '', recommendedAction: '' };
  return { ...about, ...words, ...telling, eventName: eventNameOf(at, `0${index}${itemId}`) };
};
const critical = { kind: 'levelChanged', severity: 'Critical', code: 'VmHealth' } as const;
const raised = (code: string) => ({ kind: 'raised', severity: 'Critical', code }) as const;
const cleared = (code: string) => ({ kind: 'cleared', severity: 'OK', code }) as const;

/** As the table lists them. */
const newestFirst = (events: ReplicationEvent[]): ReplicationEvent[] =>
  events.toSorted((a, b) => (a.eventName < b.eventName ? -1 : 1));
const found = (events: ReplicationEvent[], seconds: number) =>
  findAlerts(none, newestFirst(events), start.add({ seconds }));

test('of a storm the site’s silence and a failed job are told first, and each machine by its cause', () => {
  const site = { fabricName: 'f', name: 'vmm-01', lastHeartbeatAt: start.toString() };
  const at = start.add({ seconds: 2 });
  const silence = { ...contactEvent(site, false, at.toString()), eventName: eventNameOf(at, 'site-f') };
  const failed = event(1, 0, 'web-01', { ...raised('US4015'), eventType: 'JobFailure' });
  const machines = Array.from({ length: 300 }, (_, index) => `vm-${index}`).flatMap((name) => [
    event(3, 0, name, critical),
    event(3, 1, name, raised('US3051')),
  ]);
  const { alerts } = found([...machines, failed, silence], 120);
  const { pending } = withBatch(none, { batchId: 'b', alerts, channels: ['mail'], madeAt: start.toString() });
  const [batch] = pending;
  assert.deepEqual(
    batch?.alerts.slice(0, 3).map(({ code }) => code),
    ['US4015', 'US1112', 'US3051'],
  );
  assert.deepEqual([batch?.alerts.length, batch?.leftOutCount], [100, 202]);
  assert.ok(!alerts.some(({ code }) => code === 'VmHealth'));
});

test('a level that no raised reason explains is told', () => {
  const { alerts } = found([event(1, 0, 'sql-01', critical), event(1, 1, 'web-01', raised('US3051'))], 120);
  assert.deepEqual(
    alerts.map(({ about, code }) => [about, code]),
    [
      ['web-01', 'US3051'],
      ['sql-01', 'VmHealth'],
    ],
  );
});

test('what the next look of the watch takes back is no alert; what is raised once more is', () => {
  const events = [
    ...[event(1, 0, 'sql-01', critical), event(1, 1, 'sql-01', raised('US3051'))],
    ...[event(61, 0, 'sql-01', { ...critical, severity: 'OK' }), event(61, 1, 'sql-01', cleared('US3051'))],
    ...[event(1, 1, 'web-01', raised('US3051')), event(61, 1, 'web-01', cleared('US3051'))],
    event(62, 1, 'web-01', raised('US3051')),
  ];
  assert.deepEqual(found(events, 62).alerts, [], 'not before the next look could take it back');
  const first = found(events, 121);
  assert.deepEqual(first.alerts, []);
  const second = findAlerts(first.state, newestFirst(events), start.add({ seconds: 181 }));
  assert.deepEqual(
    second.alerts.map(({ about }) => about),
    ['web-01'],
  );
});
