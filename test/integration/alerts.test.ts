import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { SMTPServer } from 'smtp-server';
import { eventNameOf, rows, vaultPartition } from '../../core/records/rows.js';
import { insert, list, read, replace } from '../../core/records/access.js';
import { asJobName, asVaultId } from '../../core/domain/ids.js';
import { makeConcludeJob } from '../../activities/jobs.js';
import type { Job } from '../../core/domain/jobs/job.js';
import type { StateTable } from '../../core/ports/state-table.js';
import { sendAlerts } from '../../functions/timers/alerting.js';
import { openMailer } from '../../providers/smtp/mailer.js';
import { watch } from '../../functions/timers/watch.js';
import { Harness, vaultPath, type TestRelay } from '../support/api/harness.js';
import { sampleJob } from '../support/sample-job.js';
import { ReplicatedItem } from '../support/api/replicated-items.js';

const vaultId = asVaultId(vaultPath);

interface Letter {
  from: string;
  to: string[];
  text: string;
}

/** A real mail server on loopback, which asks for a password. `refuses`: how many letters it turns away first. */
async function withMailServer(
  refuses: number,
  scene: (letters: Letter[], url: string) => Promise<void>,
  /** By SMTP code, addresses that it takes no mail for. */
  unwanted = new Map<string, number>(),
): Promise<void> {
  const letters: Letter[] = [];
  let left = refuses;
  const server = new SMTPServer({
    authOptional: false,
    disabledCommands: ['STARTTLS'],
    allowInsecureAuth: true,
    onAuth: ({ username, password }, _session, answer) => {
      if (username === 'understudy' && password === 'secret') answer(null, { user: username });
      else answer(new Error('wrong password'));
    },
    onRcptTo: ({ address }, _session, answer) => {
      const responseCode = unwanted.get(address);
      answer(responseCode === undefined ? null : Object.assign(new Error('not here'), { responseCode }));
    },
    onData: (stream, session, answer) => {
      let text = '';
      stream.on('data', (piece: Buffer) => (text += piece.toString('utf8')));
      stream.on('end', () => {
        if (left-- > 0) return answer(Object.assign(new Error('mailbox is full'), { responseCode: 452 }));
        const { mailFrom, rcptTo } = session.envelope;
        letters.push({
          from: mailFrom === false ? '' : mailFrom.address,
          to: rcptTo.map(({ address }) => address),
          // Soft line breaks of quoted-printable.
          text: text.replaceAll('=\r\n', ''),
        });
        answer();
      });
    },
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    await scene(letters, `smtp://understudy:secret@127.0.0.1:${(server.server.address() as AddressInfo).port}`);
  } finally {
    await new Promise<void>((resolve) => server.close(resolve));
  }
}

async function watched(
  url: string,
  others: string[] = [],
  before: (relay: TestRelay, harness: Harness) => Promise<void> = async () => undefined,
): Promise<Harness> {
  const harness = new Harness();
  await before(await harness.registeredRelay(), harness);
  Object.assign(harness.app, { mailer: openMailer({ url, from: 'understudy@example.net' }) });
  const properties = {
    customEmailAddresses: ['ops@example.net', 'boss@example.net', ...others],
    sendToOwners: 'DoNotSend',
  };
  const put = await harness.arm('PUT', `${vaultPath}/replicationAlertSettings/defaultAlertSetting`, { properties });
  assert.equal(put.status, 200);
  // From when on.
  await sendAlerts(harness.app);
  return harness;
}

async function happens(harness: Harness, code: string, message = 'the RPO of sql-01 is 2 hours'): Promise<void> {
  harness.now = harness.now.add({ seconds: 1 });
  const eventName = eventNameOf(harness.now, code);
  const event = {
    ...({ eventName, kind: 'raised', severity: 'Critical', code, itemId: 'i', vmName: 'sql-01' } as const),
    ...{ fabricName: 'f', containerName: 'c', description: '', possibleCauses: '' },
    message,
    recommendedAction: 'See the line.',
    at: harness.now.toString(),
  };
  await harness.table.transact(vaultPartition(vaultId), [insert(rows.event(vaultId, eventName), event)]);
}

/** The relay is heard of, and the timer comes round. */
const minuteLater = async (harness: Harness, minutes = 1): Promise<void> => {
  harness.now = harness.now.add({ minutes });
  for (const stored of await list(harness.table, rows.fabrics(vaultId))) {
    const fabric = { ...stored.value, lastHeartbeatAt: harness.now.toString() };
    await harness.table.transact(stored.ref.partition, [replace(stored, fabric)]);
  }
  await sendAlerts(harness.app);
};

/** Silent: the watch finds it, and what it tells settles. */
async function falls(harness: Harness): Promise<void> {
  harness.now = harness.now.add({ minutes: 10 });
  for (let look = 0; look < 2; look++) await watch(harness.app);
  harness.now = harness.now.add({ minutes: 1 });
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
    await minuteLater(harness);
    await minuteLater(harness);
    assert.equal(letters.length, 1);
    const [letter] = letters;
    assert.deepEqual([letter?.from, letter?.to], ['understudy@example.net', ['ops@example.net', 'boss@example.net']]);
    assert.match(letter?.text ?? '', /Subject: Understudy, vault local: sql-01, web-01\r\n/);
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

test('an item that becomes critical is told, and so is an RPO above its threshold, which is no more than a warning', async () => {
  await withMailServer(0, async (letters, url) => {
    const harness = await watched(url, [], async (relay, app) => {
      await ReplicatedItem.put(app, relay, { itemName: 'sql-01' });
      const late = app.now.subtract({ minutes: 29 }).toString();
      await ReplicatedItem.put(app, relay, { itemName: 'web-01' }, { receivedTakenAt: late, receivedAt: late });
    });
    const look = async (): Promise<string> => {
      await watch(harness.app);
      await minuteLater(harness);
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
    assert.match(await look(), new RegExp(`${item.value.vmName}[^]*\\(VmHealth\\)`));
    assert.equal(await look(), '', 'once');
  });
});

test('of a storm the newest are told and the others counted; no row outgrows its bound', async () => {
  await withMailServer(0, async (letters, url) => {
    const harness = await watched(url);
    for (let event = 0; event < 450; event++) await happens(harness, `US3058-${event}`, 'long '.repeat(2000));
    await minuteLater(harness);
    assert.equal(letters.length, 1);
    assert.match(letters[0]?.text ?? '', /And 350 more: see/);
    assert.doesNotMatch(letters[0]?.text ?? '', /US3058-349\b/);
    assert.match(letters[0]?.text ?? '', /US3058-350\b/);
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
    assert.match(JSON.stringify(state?.value.pending.at(-1)), /US3058-3-119/, 'the newest are kept');
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

test('what cannot begin within a run is the next run’s', async () => {
  const harness = new Harness();
  await harness.registeredRelay();
  const posted: string[] = [];
  Object.assign(harness.app, {
    webhooks: {
      ...harness.app.webhooks,
      post: async (url: string) => {
        posted.push(url);
        // A slow one: the run's time is over when it answers.
        harness.systemNow = harness.systemNow.add({ seconds: 41 });
        return { status: 200 };
      },
    },
  });
  const urls = Array.from({ length: 5 }, (_, index) => `https://example.net/${index}`);
  const path = `/understudy/v1/alertWebhooks?vaultId=${encodeURIComponent(vaultPath)}`;
  assert.equal((await harness.arm('PUT', path, { urls })).status, 200);
  await sendAlerts(harness.app);
  await happens(harness, 'US3058');
  for (let run = 1; run <= 5; run++) {
    await minuteLater(harness);
    assert.deepEqual(posted, urls.slice(0, run));
  }
  await minuteLater(harness);
  assert.equal(posted.length, 5);
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
  const path = `/understudy/v1/alertWebhooks?vaultId=${encodeURIComponent(vaultPath)}`;
  const urls = ['https://example.net/good?token=one', 'https://example.net/late?token=two'];
  const put = await harness.arm('PUT', path, { urls });
  const shown = (put.body as { urls: string[] }).urls;
  for (const url of shown) assert.match(url, /^https:\/\/example\.net\/\*\*\*#[0-9a-f]{12}$/);
  assert.deepEqual((await harness.arm('PUT', path, { urls: shown })).body, { urls: shown }, 'what was read stays');
  assert.equal((await harness.arm('PUT', path, { urls: ['https://example.net/***#000000000000'] })).status, 400);
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
