import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { withBatch } from '../../core/domain/alerts/alerts.js';
import { asVaultId } from '../../core/domain/ids.js';
import { insert, list, read } from '../../core/records/access.js';
import type { StateTable } from '../../core/ports/state-table.js';
import { rows } from '../../core/records/rows.js';
import { sendAlerts } from '../../functions/timers/alerting.js';
import {
  happens,
  minuteLater,
  posting,
  vaultId,
  watched,
  webhooksPath,
  withMailServer,
} from '../support/api/alert-scene.js';
import { vaultPath, type Harness } from '../support/api/harness.js';

test('a mail server that refuses is tried again by the schedule; nothing is lost, and its password is in no log', async () => {
  await withMailServer(2, async (letters, url) => {
    const harness = await watched(url);
    await happens(harness, 'US3058');
    await minuteLater(harness);
    assert.deepEqual([letters.length, harness.logged.length], [0, 1]);
    await minuteLater(harness);
    await minuteLater(harness);
    assert.equal(letters.length, 0, 'two minutes after the second attempt comes the third');
    await minuteLater(harness);
    assert.equal(letters.length, 1);
    await minuteLater(harness, 60);
    assert.equal(letters.length, 1);
    assert.ok(!JSON.stringify(harness.logged).includes('secret'));
  });
});

test('who took a mail is not mailed again; who is refused for now is, and who is refused for good is named', async () => {
  const unwanted = new Map([
    ['boss@example.net', 450],
    ['gone@example.net', 550],
  ]);
  await withMailServer(
    0,
    async (letters, url) => {
      const harness = await watched(url, ['gone@example.net']);
      await happens(harness, 'US3058');
      await minuteLater(harness);
      assert.deepEqual(
        letters.map(({ to }) => to),
        [['ops@example.net']],
      );
      assert.equal(
        harness.logged.filter((line) => /refused for gone@example\.net \(550 .*none of them/.test(line)).length,
        1,
      );
      unwanted.clear();
      for (let minute = 0; minute < 4; minute++) await minuteLater(harness);
      assert.deepEqual(letters.map(({ to }) => to).slice(1), [['boss@example.net']]);
    },
    unwanted,
  );
});

test('of a storm the first are told and the others counted; no row outgrows its bound', async () => {
  await withMailServer(0, async (letters, url) => {
    const harness = await watched(url);
    for (let event = 0; event < 1200; event++) await happens(harness, `US3058-${event}`, 'long '.repeat(2000));
    await minuteLater(harness);
    assert.equal(letters.length, 1);
    assert.match(letters[0]?.text ?? '', /And 1100 more: see/);
    assert.doesNotMatch(letters[0]?.text ?? '', /US3058-100\b/);
    assert.match(letters[0]?.text ?? '', /US3058-99\b/);
  });
  await withMailServer(1000, async (_letters, url) => {
    const harness = await watched(url);
    for (let storm = 0; storm < 4; storm++) {
      for (let event = 0; event < 120; event++)
        await happens(harness, `US3058-${storm}-${event}`, 'long '.repeat(2000));
      await minuteLater(harness);
    }
    const state = await read(harness.table, rows.alertState(vaultId));
    assert.ok(JSON.stringify(state?.value).length < 500_000);
    assert.match(JSON.stringify(state?.value.pending.at(-1)), /US3058-3-0/, 'the newest are kept');
  });
});

test('what was noted is sent though nothing new can be looked for', async () => {
  await withMailServer(1, async (letters, url) => {
    const harness = await watched(url);
    await happens(harness, 'US3058');
    await minuteLater(harness);
    assert.equal(letters.length, 0);
    const query: StateTable['query'] = async (partition, range) => {
      if (range.prefix === 'event!') throw new Error('the table is busy');
      return harness.table.query(partition, range);
    };
    Object.assign(harness.app, { table: { ...harness.table, query } });
    await minuteLater(harness);
    assert.equal(letters.length, 1);
    assert.ok(harness.logged.some((line) => line.includes('could not be looked for')));
  });
});

test('texts that take many bytes leave room for others', () => {
  const text = '\u0001'.repeat(2000);
  const alert = {
    code: 'VmHealth',
    about: 'sql-01',
    message: text,
    recommendedAction: text,
    at: '2026-01-05T10:00:00Z',
  };
  const none = { eventsThrough: '', pending: [] };
  const storm = {
    batchId: 'b',
    channels: ['mail'],
    madeAt: alert.at,
    alerts: Array.from({ length: 150 }, () => alert),
  };
  const state = withBatch(none, storm);
  assert.ok(Buffer.byteLength(JSON.stringify(state)) < 450_000);
  const [batch] = state.pending;
  assert.equal((batch?.alerts.length ?? 0) + (batch?.leftOutCount ?? 0), 150);
});

test('a webhook that fails is left alone for the rest of a run, and gets all once it answers', async () => {
  const [dead, good] = ['https://example.net/dead', 'https://example.net/good'];
  const posted: string[] = [];
  let down = new Set([dead, good]);
  const harness = await posting([dead, good], async (url) => {
    posted.push(url);
    return down.has(url) ? 503 : 200;
  });
  const calls = (url: string): number => posted.filter((each) => each === url).length;
  for (let event = 0; event < 3; event++) {
    await happens(harness, `US3058-${event}`);
    await minuteLater(harness);
  }
  posted.length = 0;
  down = new Set([dead]);
  await minuteLater(harness, 60);
  assert.deepEqual([calls(dead), calls(good)], [1, 3]);
  down = new Set();
  await minuteLater(harness, 60);
  assert.deepEqual([calls(dead), calls(good)], [4, 3]);
});

test('webhooks that hang hold up neither mail nor the webhooks of another vault', async () => {
  const urls = Array.from({ length: 5 }, (_, index) => `https://example.net/${index}`);
  const other = { vault: vaultPath.replace(/[^/]+$/, 'zweiter'), url: 'https://example.org/other' };
  let hangs = false;
  const seen = new EventEmitter();
  const bothGot = Promise.all([once(seen, 'posted'), once(seen, 'mailed')]);
  const released = once(seen, 'released');
  const harness = await posting(urls, async (url) => {
    if (!hangs) return 503;
    if (url === other.url) seen.emit('posted');
    else await released;
    return 200;
  });
  const happensThere = async (code: string): Promise<void> => {
    await happens(harness, code);
    const [event] = await list(harness.table, rows.events(vaultId), 1);
    assert(event);
    const ref = rows.event(asVaultId(other.vault), event.value.eventName);
    await harness.table.transact(ref.partition, [insert(ref, event.value)]);
  };
  const vault = await harness.arm('PUT', other.vault, { location: 'local', sku: { name: 'Standard' } });
  assert.ok(vault.status < 300, JSON.stringify(vault.body));
  assert.equal((await harness.arm('PUT', webhooksPath(other.vault), { urls: [other.url] })).status, 200);
  await sendAlerts(harness.app);
  for (let batch = 0; batch < 4; batch++) {
    await happens(harness, `US3058-${batch}`);
    await minuteLater(harness);
  }
  Object.assign(harness.app, { mailer: { send: async () => (seen.emit('mailed'), { refused: [] }) } });
  const properties = { customEmailAddresses: ['ops@example.net'] };
  await harness.arm('PUT', `${vaultPath}/replicationAlertSettings/defaultAlertSetting`, { properties });
  await happensThere('US3058-last');
  hangs = true;
  const run = minuteLater(harness, 60);
  await bothGot;
  seen.emit('released');
  await run;
});

/** All that can go on has gone on: the table is in memory. */
const settled = async (): Promise<void> => {
  for (let turn = 0; turn < 200; turn++) await setImmediate();
};

test('a process that dies while a webhook hangs has noted whom it mailed', async () => {
  const seen = new EventEmitter();
  const released = once(seen, 'released');
  const harness = await posting(['https://example.net/hangs'], async () => released.then(() => 200));
  let mails = 0;
  Object.assign(harness.app, { mailer: { send: async () => ((mails += 1), { refused: [] }) } });
  const properties = { customEmailAddresses: ['ops@example.net'] };
  await harness.arm('PUT', `${vaultPath}/replicationAlertSettings/defaultAlertSetting`, { properties });
  await happens(harness, 'US3058');
  const dies = minuteLater(harness);
  await settled();
  const next = minuteLater(harness);
  await settled();
  assert.equal(mails, 1);
  seen.emit('released');
  await Promise.all([dies, next]);
});

test('what cannot begin within a run is the next run’s', async () => {
  const posted: string[] = [];
  const urls = Array.from({ length: 5 }, (_, index) => `https://example.net/${index}`);
  const harness: Harness = await posting(urls, async (url) => {
    posted.push(url);
    // A slow one: the run's time is over when it answers.
    harness.systemNow = harness.systemNow.add({ seconds: 41 });
    return 200;
  });
  await happens(harness, 'US3058');
  for (let run = 1; run <= 5; run++) {
    await minuteLater(harness);
    assert.deepEqual(posted, urls.slice(0, run));
  }
  await minuteLater(harness);
  assert.equal(posted.length, 5);
});
