import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import { SMTPServer } from 'smtp-server';
import { asVaultId } from '../../../core/domain/ids.js';
import { insert, list, replace } from '../../../core/records/access.js';
import { eventNameOf, rows, vaultPartition } from '../../../core/records/rows.js';
import { sendAlerts } from '../../../functions/timers/alerting.js';
import { openMailer } from '../../../providers/smtp/mailer.js';
import { Harness, vaultPath, type TestRelay } from './harness.js';

export const vaultId = asVaultId(vaultPath);

export interface Letter {
  from: string;
  to: string[];
  text: string;
}

/** A real mail server on loopback, which asks for a password. `refuses`: how many letters it turns away first. */
export async function withMailServer(
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

export async function watched(
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

export async function happens(harness: Harness, code: string, message = 'the RPO of sql-01 is 2 hours'): Promise<void> {
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
  // With the minute that follows it has settled.
  harness.now = harness.now.add({ seconds: 31 });
}

/** The relay is heard of, and the timer comes round. */
export const minuteLater = async (harness: Harness, minutes = 1): Promise<void> => {
  harness.now = harness.now.add({ minutes });
  for (const stored of await list(harness.table, rows.fabrics(vaultId))) {
    const fabric = { ...stored.value, lastHeartbeatAt: harness.now.toString() };
    await harness.table.transact(stored.ref.partition, [replace(stored, fabric)]);
  }
  await sendAlerts(harness.app);
};

export const webhooksPath = (vault: string): string =>
  `/understudy/v1/alertWebhooks?vaultId=${encodeURIComponent(vault)}`;

/** Webhooks that answer as `answer` says. */
export async function posting(urls: string[], answer: (url: string) => Promise<number>): Promise<Harness> {
  const harness = new Harness();
  await harness.registeredRelay();
  const post = async (url: string): Promise<{ status: number }> => ({ status: await answer(url) });
  Object.assign(harness.app, { webhooks: { ...harness.app.webhooks, post } });
  assert.equal((await harness.arm('PUT', webhooksPath(vaultPath), { urls })).status, 200);
  await sendAlerts(harness.app);
  return harness;
}
