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
import type { ReplicationEvent } from '../../core/domain/health/health-events.js';
import type { VaultId } from '../../core/domain/ids.js';
import { decideAndCommit, insert, list, read, remove, replace } from '../../core/records/access.js';
import { eventNameOf, rows, type Vault } from '../../core/records/rows.js';
import type { AppInvocation } from '../app.js';
import { whileVaultStands } from '../arm/operation.js';
import { maskedAddress } from '../webhook-address.js';

/** Events that a look takes, and where all of these are new: a site of hundreds of machines may turn critical at once. */
const eventsLookedAt = 500;
const eventsLookedAtMax = 5000;
const mailChannel = 'mail';
const webhookTimeoutSeconds = 10;
const looksAtOnce = 4;
const mailsAtOnce = 4;
/** More than one vault has, so that none whose addresses are all dead takes every place. */
const postsAtOnce = 16;
/** The timer comes round each minute: what has not begun by then is the next run's. */
const sendsBeginWithinSeconds = 40;

/** One run: how much of each kind goes on at the same time, and until when sends begin. */
interface Run {
  looks: LimitFunction;
  mails: LimitFunction;
  posts: LimitFunction;
  endsAt: Temporal.Instant;
}

/**
 * Once a minute: writes to whom the vault's alert settings name about what became critical, fell silent or failed since the last
 * look. What to send is noted before it is sent, and forgotten for each channel when that took it: an alert may come twice, and is
 * not lost. A channel that is slow or refuses holds up no other, and neither does a look that fails.
 */
export async function sendAlerts(app: AppInvocation): Promise<void> {
  const run: Run = {
    looks: pLimit(looksAtOnce),
    mails: pLimit(mailsAtOnce),
    posts: pLimit(postsAtOnce),
    endsAt: app.systemNow().add({ seconds: sendsBeginWithinSeconds }),
  };
  const indexes = await list(app.table, rows.vaultIndexes());
  await Promise.all(
    indexes.map(({ value }) =>
      attempt(app, value.vaultId, 'could not be seen to', () => alertVault(app, value.vaultId, run)),
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

/** What one vault has to send in a run. */
interface Sending {
  vault: Vault;
  settings: AlertSettings;
  /** Oldest first. */
  batches: AlertBatch[];
  run: Run;
  /** Batches that somebody did not take. */
  failed: Set<string>;
}

async function alertVault(app: AppInvocation, vaultId: VaultId, run: Run): Promise<void> {
  const now = await app.clock.now();
  const sending = await run.looks(() => toSend(app, vaultId, run, now));
  if (sending === undefined) return;
  const { batches, failed } = sending;
  const channels = new Set(batches.flatMap((batch) => batch.channels));
  await Promise.all([...channels].map((channel) => sendInTurn(app, sending, channel)));
  if (failed.size === 0) return;
  await changeState(
    app,
    vaultId,
    (state) => state && [...failed].reduce((left, batchId) => afterAttempt(left, batchId, now), state),
  );
}

/** Looks for what is new, and resolves with all that is due. A vault that writes to nobody begins anew when it does. */
async function toSend(
  app: AppInvocation,
  vaultId: VaultId,
  run: Run,
  now: Temporal.Instant,
): Promise<Sending | undefined> {
  const settings = (await read(app.table, rows.alertSettings(vaultId)))?.value;
  if (settings === undefined) return undefined;
  const channels = channelsOf(settings);
  if (channels.length === 0) {
    await changeState(app, vaultId, () => undefined);
    return undefined;
  }
  const vault = await read(app.table, rows.vault(vaultId));
  if (vault === undefined || vault.value.deleting) return undefined;
  await attempt(app, vaultId, 'could not be looked for', () => look(app, vaultId, channels, now));
  const pending = (await read(app.table, rows.alertState(vaultId)))?.value.pending ?? [];
  const batches = pending.filter((batch) => isDue(batch, now));
  return { vault: vault.value, settings, batches, run, failed: new Set() };
}

const channelsOf = ({ emailAddresses, webhookUrls }: AlertSettings): string[] => [
  ...(emailAddresses.length > 0 ? [mailChannel] : []),
  ...webhookUrls,
];

/** What came since the last look is noted together with that it was looked at. The first look only says from when on. */
async function look(app: AppInvocation, vaultId: VaultId, channels: string[], now: Temporal.Instant): Promise<void> {
  const events = await newEvents(app, vaultId);
  const first: AlertState = { eventsThrough: eventNameOf(now, ''), pending: [] };
  const batch = { batchId: randomUUID(), channels, madeAt: now.toString() };
  await changeState(app, vaultId, (current) => {
    if (current === undefined) return first;
    const { alerts, state } = findAlerts(current, events, now);
    return alerts.length === 0 ? state : withBatch(state, { ...batch, alerts });
  });
}

/** Newest first; among them all that came since the last look. */
async function newEvents(app: AppInvocation, vaultId: VaultId): Promise<ReplicationEvent[]> {
  const through = (await read(app.table, rows.alertState(vaultId)))?.value.eventsThrough ?? '';
  const newest = async (limit: number) =>
    (await list(app.table, rows.events(vaultId), limit)).map(({ value }) => value);
  const events = await newest(eventsLookedAt);
  const oldest = events[eventsLookedAt - 1];
  return oldest !== undefined && oldest.eventName < through ? newest(eventsLookedAtMax) : events;
}

/** A state that is changed to undefined is forgotten. */
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
    if (isSame) return { operations: [], result: undefined };
    if (changed === undefined) return { operations: stored ? [remove(stored)] : [], result: undefined };
    const operations = stored
      ? [replace(stored, changed)]
      : [insert(ref, changed), await whileVaultStands(app.table, vaultId)];
    return { operations, result: undefined };
  });
}

/**
 * A channel's batches, one after the other. One that fails is left alone for the rest of the run, whose time it would use up: what
 * else it should get stays due, as does what has not begun in time.
 */
async function sendInTurn(app: AppInvocation, sending: Sending, channel: string): Promise<void> {
  const { batches, run } = sending;
  const limit = channel === mailChannel ? run.mails : run.posts;
  for (const batch of batches) {
    if (batch.channels.includes(channel) && !(await limit(() => isTaken(app, sending, channel, batch)))) return;
  }
}

async function isTaken(app: AppInvocation, sending: Sending, channel: string, batch: AlertBatch): Promise<boolean> {
  const { vault, run, failed } = sending;
  const { batchId, alerts } = batch;
  if (app.systemNow().epochMilliseconds >= run.endsAt.epochMilliseconds) return false;
  try {
    const leftToMail = await sendTo(app, sending, channel, batch);
    await changeState(app, vault.vaultId, (state) => state && afterSending(state, batchId, channel, leftToMail));
    if (leftToMail.length > 0) failed.add(batchId);
    return true;
  } catch (error) {
    failed.add(batchId);
    const to = channel === mailChannel ? 'by mail' : `to ${maskedAddress(channel)}`;
    app.log(`${alerts.length} alerts of vault ${vault.name} could not be sent ${to}; tried again`, error);
    return false;
  }
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
