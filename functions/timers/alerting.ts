import { randomUUID } from 'node:crypto';
import pLimit, { type LimitFunction } from 'p-limit';
import type { Temporal } from 'temporal-polyfill';
import {
  afterAttempt,
  afterSending,
  findAlerts,
  isDue,
  mailOf,
  withBatch,
  type AlertBatch,
  type AlertState,
} from '../../core/domain/alerts/alerts.js';
import type { AlertSettings } from '../../core/domain/alerts/alert-settings.js';
import type { VaultId } from '../../core/domain/ids.js';
import { decideAndCommit, insert, list, read, replace } from '../../core/records/access.js';
import { eventNameOf, rows, type Vault } from '../../core/records/rows.js';
import type { AppInvocation } from '../app.js';
import { whileVaultStands } from '../arm/operation.js';
import { maskedAddress } from '../webhook-address.js';

/** Events that one look takes; a storm of more is told by its newest. */
const eventsLookedAtMax = 500;
const mailChannel = 'mail';
const webhookTimeoutSeconds = 10;
const vaultsAtOnce = 4;
const sendsAtOnce = 8;
/** The timer comes round each minute: what has not begun by then is the next run's. */
const sendsBeginWithinSeconds = 40;

/** One run: how many sends go on at the same time, and until when they begin. */
interface Run {
  limit: LimitFunction;
  endsAt: Temporal.Instant;
}

/**
 * Once a minute: writes to whom the vault's alert settings name about what became critical, fell silent or failed since the last
 * look. What to send is noted before it is sent, and forgotten for each channel when that took it: an alert may come twice, and is
 * not lost. A channel that is slow or refuses holds up no other, and neither does a look that fails.
 */
export async function sendAlerts(app: AppInvocation): Promise<void> {
  const run = { limit: pLimit(sendsAtOnce), endsAt: app.systemNow().add({ seconds: sendsBeginWithinSeconds }) };
  const vaults = pLimit(vaultsAtOnce);
  const indexes = await list(app.table, rows.vaultIndexes());
  await Promise.all(
    indexes.map(({ value }) =>
      vaults(() => attempt(app, value.vaultId, 'could not be seen to', () => alertVault(app, value.vaultId, run))),
    ),
  );
}

async function attempt(app: AppInvocation, vaultId: VaultId, what: string, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    app.log(`the alerts of vault ${vaultId} ${what}; tried again in a minute`, error);
  }
}

async function alertVault(app: AppInvocation, vaultId: VaultId, run: Run): Promise<void> {
  const settings = (await read(app.table, rows.alertSettings(vaultId)))?.value;
  const channels = settings === undefined ? [] : channelsOf(settings);
  if (settings === undefined || channels.length === 0) return;
  const vault = await read(app.table, rows.vault(vaultId));
  if (vault === undefined || vault.value.deleting) return;
  await attempt(app, vaultId, 'could not be looked for', () => look(app, vaultId, channels));
  const now = await app.clock.now();
  const pending = (await read(app.table, rows.alertState(vaultId)))?.value.pending ?? [];
  await Promise.all(
    pending
      .filter((batch) => isDue(batch, now))
      .map((batch) =>
        attempt(app, vaultId, 'could not be sent', () => send(app, { vault: vault.value, settings, run }, batch, now)),
      ),
  );
}

const channelsOf = ({ emailAddresses, webhookUrls }: AlertSettings): string[] => [
  ...(emailAddresses.length > 0 ? [mailChannel] : []),
  ...webhookUrls,
];

/** What came since the last look is noted together with that it was looked at. The first look only says from when on. */
async function look(app: AppInvocation, vaultId: VaultId, channels: string[]): Promise<void> {
  const now = await app.clock.now();
  const events = (await list(app.table, rows.events(vaultId), eventsLookedAtMax)).map(({ value }) => value);
  const first: AlertState = { eventsThrough: eventNameOf(now, ''), pending: [] };
  const batch = { batchId: randomUUID(), channels, madeAt: now.toString() };
  await changeState(app, vaultId, (current) => {
    if (current === undefined) return first;
    const { alerts, state } = findAlerts(current, events, now);
    return alerts.length === 0 ? state : withBatch(state, { ...batch, alerts });
  });
}

async function changeState(
  app: AppInvocation,
  vaultId: VaultId,
  change: (state: AlertState | undefined) => AlertState | undefined,
): Promise<void> {
  const ref = rows.alertState(vaultId);
  await decideAndCommit(app.table, ref.partition, async () => {
    const stored = await read(app.table, ref);
    const changed = change(stored?.value);
    const isSame = JSON.stringify(changed) === JSON.stringify(stored?.value);
    if (changed === undefined || isSame) return { operations: [], result: undefined };
    const operations = stored
      ? [replace(stored, changed)]
      : [insert(ref, changed), await whileVaultStands(app.table, vaultId)];
    return { operations, result: undefined };
  });
}

interface Sending {
  vault: Vault;
  settings: AlertSettings;
  run: Run;
}

/** To each channel by itself; what has not begun in time is left as it is, and due at once. */
async function send(app: AppInvocation, sending: Sending, batch: AlertBatch, now: Temporal.Instant): Promise<void> {
  const { vault, run } = sending;
  let failedCount = 0;
  await Promise.all(
    batch.channels.map((channel) =>
      run.limit(async () => {
        if (app.systemNow().epochMilliseconds >= run.endsAt.epochMilliseconds) return;
        try {
          const leftToMail = await sendTo(app, sending, channel, batch);
          await changeState(
            app,
            vault.vaultId,
            (state) => state && afterSending(state, batch.batchId, channel, leftToMail),
          );
          failedCount += leftToMail.length;
        } catch (error) {
          failedCount += 1;
          const to = channel === mailChannel ? 'by mail' : `to ${maskedAddress(channel)}`;
          app.log(`${batch.alerts.length} alerts of vault ${vault.name} could not be sent ${to}; tried again`, error);
        }
      }),
    ),
  );
  if (failedCount === 0) return;
  await changeState(app, vault.vaultId, (state) => state && afterAttempt(state, batch.batchId, now));
}

/** Resolves with the addresses that are to be mailed to once more. A channel that is not set any more is passed over. */
async function sendTo(
  app: AppInvocation,
  { vault, settings }: Sending,
  channel: string,
  batch: AlertBatch,
): Promise<string[]> {
  if (channel === mailChannel) return sendMail(app, vault, settings, batch);
  if (settings.webhookUrls.includes(channel)) await post(app, vault, channel, batch);
  return [];
}

async function sendMail(
  app: AppInvocation,
  vault: Vault,
  { emailAddresses }: AlertSettings,
  batch: AlertBatch,
): Promise<string[]> {
  const to = emailAddresses.filter((address) => batch.mailTo?.includes(address) ?? true);
  if (to.length === 0) return [];
  if (app.mailer === undefined) {
    app.log(
      `${batch.alerts.length} alerts of vault ${vault.name} are mailed to nobody: UNDERSTUDY_SMTP_URL is not set`,
    );
    return [];
  }
  const { refused } = await app.mailer.send({ to, ...mailOf(vault.name, batch) });
  for (const { address, isForGood, answer } of refused) {
    const next = isForGood ? 'it gets none of them: correct the alert settings' : 'it is tried again';
    app.log(`alerts of vault ${vault.name} were refused for ${address} (${answer}); ${next}`);
  }
  return refused.flatMap(({ address, isForGood }) => (isForGood ? [] : [address]));
}

async function post(
  app: AppInvocation,
  vault: Vault,
  url: string,
  { batchId, alerts, leftOutCount }: AlertBatch,
): Promise<void> {
  const options = { timeoutSeconds: webhookTimeoutSeconds, idempotencyKey: batchId };
  const body = { vaultId: vault.armId, vault: vault.name, alerts, leftOutCount };
  const { status } = await app.webhooks.post(url, body, options);
  if (status >= 300) throw new Error(`a webhook answered with status ${status}`);
}
