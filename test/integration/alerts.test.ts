import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rows, vaultPartition } from '../../core/records/rows.js';
import { insert, list, replace } from '../../core/records/access.js';
import { asJobName } from '../../core/domain/ids.js';
import { makeConcludeJob } from '../../activities/jobs.js';
import type { Job } from '../../core/domain/jobs/job.js';
import { sendAlerts } from '../../functions/timers/alerting.js';
import { openMailer } from '../../providers/smtp/mailer.js';
import { watch } from '../../functions/timers/watch.js';
import { happens, minuteLater, vaultId, watched, webhooksPath, withMailServer } from '../support/api/alert-scene.js';
import { Harness, vaultPath } from '../support/api/harness.js';
import { sampleJob } from '../support/sample-job.js';
import { ReplicatedItem } from '../support/api/replicated-items.js';

/** Silent: the watch finds it, and what it tells settles. */
async function falls(harness: Harness): Promise<void> {
  harness.now = harness.now.add({ minutes: 10 });
  for (let look = 0; look < 2; look++) await watch(harness.app);
  harness.now = harness.now.add({ minutes: 2 });
}

test('what became critical, failed or fell silent is mailed once, to all', async () => {
  await withMailServer(0, async (letters, url) => {
    const harness = await watched(url);
    await happens(harness, 'US3058');
    const failing: Job = {
      ...sampleJob(asJobName('0190a000-0000-7000-8000-000000000001'), harness.now.toString()),
      scenarioName: 'PlannedFailover',
      friendlyName: 'Planned failover',
      targetObjectName: 'web-01',
    };
    const part = {
      ...failing,
      jobName: asJobName('0190a000-0000-7000-8000-000000000002'),
      planJobName: failing.jobName,
      targetObjectName: 'app-01',
    };
    await harness.table.transact(vaultPartition(vaultId), [
      insert(rows.job(vaultId, failing.jobName), failing),
      insert(rows.job(vaultId, part.jobName), part),
    ]);
    const failure = {
      code: 'US4015',
      message: 'the relay is silent',
      possibleCauses: '',
      recommendedAction: 'Bring it back.',
      retry: 'never' as const,
    };
    for (const { jobName } of [failing, part]) {
      const outcome = { kind: 'failed' as const, failures: [failure] };
      for (let run = 0; run < 2; run++) await makeConcludeJob(harness.app)({ vaultId, jobName, outcome });
    }
    await minuteLater(harness, 2);
    await minuteLater(harness);
    assert.equal(letters.length, 1);
    const [letter] = letters;
    assert.deepEqual([letter?.from, letter?.to], ['understudy@example.net', ['ops@example.net', 'boss@example.net']]);
    assert.match(letter?.text ?? '', /Subject: Understudy, vault local: web-01, sql-01\r\n/);
    for (const found of [
      /RPO of sql-01 is 2 hours/,
      /Planned failover failed: the relay is silent/,
      /What to do: Bring it back\./,
    ]) {
      assert.match(letter?.text ?? '', found);
    }
    await falls(harness);
    for (let look = 0; look < 2; look++) await sendAlerts(harness.app);
    assert.equal(letters.length, 2);
    assert.match(letters[1]?.text ?? '', /the relay of vmm-01 was last heard of/);
    await minuteLater(harness);
    await watch(harness.app);
    await falls(harness);
    await sendAlerts(harness.app);
    assert.equal(letters.length, 3, 'a second silence is told again');
  });
});

test('an item that becomes critical is told, and so is an RPO above its threshold, which is no more than a warning', async () => {
  await withMailServer(0, async (letters, url) => {
    const harness = await watched(url, [], async (relay, app) => {
      await ReplicatedItem.put(app, relay, { itemName: 'sql-01' });
      const late = app.now.subtract({ minutes: 29 }).toString();
      await ReplicatedItem.put(app, relay, { itemName: 'web-01' }, { receivedTakenAt: late, receivedAt: late });
    });
    const look = async (): Promise<string> => {
      await watch(harness.app);
      await minuteLater(harness, 2);
      return letters
        .splice(0)
        .map(({ text }) => text)
        .join('');
    };
    assert.equal(await look(), '');
    harness.now = harness.now.add({ minutes: 2 });
    const above = await look();
    assert.match(above, /web-01[^]*a failover now would lose[^]*\(US3058\)/);
    assert.doesNotMatch(above, /sql-01/);
    const [item] = await list(harness.table, rows.items(vaultId));
    assert(item);
    const resyncRequired = { reason: 'hostCrash', message: 'the host crashed', at: harness.now.toString() };
    const marked = { ...item.value, replication: { ...item.value.replication, resyncRequired } };
    await harness.table.transact(item.ref.partition, [replace(item, marked)]);
    assert.match(await look(), new RegExp(`${item.value.vmName}[^]*\\(US3050\\)`));
    assert.equal(await look(), '', 'once');
  });
});

test('who is written to again after nobody was hears of nothing that came meanwhile', async () => {
  await withMailServer(0, async (letters, url) => {
    const harness = await watched(url);
    const path = `${vaultPath}/replicationAlertSettings/defaultAlertSetting`;
    const set = async (customEmailAddresses: string[]): Promise<void> => {
      const put = await harness.arm('PUT', path, { properties: { customEmailAddresses } });
      assert.equal(put.status, 200);
      await minuteLater(harness);
    };
    await set([]);
    await happens(harness, 'US3058-old');
    await minuteLater(harness);
    await set(['ops@example.net']);
    await minuteLater(harness);
    assert.equal(letters.length, 0);
    await happens(harness, 'US3058-new');
    await minuteLater(harness);
    assert.equal(letters.length, 1);
  });
});

test('a mailer says what the server said, and no password', async () => {
  await withMailServer(0, async (_letters, url) => {
    const wrong = openMailer({ url: url.replace('secret', 'guess'), from: 'understudy@example.net' });
    await assert.rejects(wrong.send({ to: ['ops@example.net'], subject: 's', text: 't' }), (error) => {
      assert(error instanceof Error && 'code' in error);
      assert.equal(error.code, 'US6080');
      assert.ok(!String(error).includes('guess'));
      return true;
    });
  });
});

test('a mailer that nobody was taken of names them', async () => {
  const unwanted = new Map([['gone@example.net', 550]]);
  await withMailServer(
    0,
    async (_letters, url) => {
      const mailer = openMailer({ url, from: 'understudy@example.net' });
      const sent = mailer.send({ to: ['gone@example.net'], subject: 's', text: 't' });
      await assert.rejects(
        sent,
        /US6080 mail could not be handed to 127\.0\.0\.1 for gone@example\.net: .*550 not here/,
      );
    },
    unwanted,
  );
});

test('alerts are posted to webhooks, each by itself', async () => {
  const harness = new Harness();
  await harness.registeredRelay();
  const posted: { url: string; body: unknown; key: string }[] = [];
  let status = 500;
  Object.assign(harness.app, {
    webhooks: {
      ...harness.app.webhooks,
      post: async (url: string, body: unknown, { idempotencyKey: key }: { idempotencyKey: string }) => {
        posted.push({ url, body, key });
        return { status: url.includes('/good') ? 200 : status };
      },
    },
  });
  const path = webhooksPath(vaultPath);
  const urls = ['https://example.net/good?token=one', 'https://example.net/late?token=two'];
  const put = await harness.arm('PUT', path, { urls });
  const shown = (put.body as { urls: string[] }).urls;
  for (const url of shown) assert.match(url, /^https:\/\/example\.net\/\*\*\*#[0-9a-f]{12}$/);
  assert.deepEqual((await harness.arm('PUT', path, { urls: shown })).body, { urls: shown }, 'what was read stays');
  assert.equal((await harness.arm('PUT', path, { urls: ['https://example.net/***#000000000000'] })).status, 400);
  assert.equal((await harness.arm('PUT', path, { urls: ['https://example.net/***'] })).status, 400, 'digest lost');
  const long = `https://example.net/${'a'.repeat(2048)}`;
  assert.equal((await harness.arm('PUT', path, { urls: [long] })).status, 400, 'no row outgrows its bound');
  assert.equal((await harness.arm('PUT', path, { urls: ['https://u:p@example.net/'] })).status, 400);
  await sendAlerts(harness.app);
  await happens(harness, 'US3058');
  await minuteLater(harness);
  status = 200;
  await minuteLater(harness);
  assert.deepEqual(
    posted.map(({ url }) => url),
    [...urls, urls[1]],
  );
  assert.equal(new Set(posted.map(({ key }) => key)).size, 1);
  assert.match(JSON.stringify(posted[0]?.body), /"code":"US3058","about":"sql-01"/);
});
