import { randomUUID } from 'node:crypto';
import {
  afterAttempt,
  findAlerts,
  isDue,
  mailOf,
  withBatch,
  type AlertBatch,
  type AlertState,
} from '../../core/domain/alerts/alerts.js';
import type { AlertSettings } from '../../core/domain/alerts/alert-settings.js';
import type { VaultId } from '../../core/domain/ids.js';
import { decideAndCommit, list, read, upsert } from '../../core/records/access.js';
import { eventNameOf, rows, type Vault } from '../../core/records/rows.js';
import type { AppInvocation } from '../app.js';
import { isConnected } from '../arm/fabrics.js';

/** Events that one look takes; a storm of more is told by its newest. */
const eventsLookedAtMax = 500;
const mailChannel = 'mail';
const webhookTimeoutSeconds = 30;

/**
 * Once a minute: writes to whom the vault's alert settings name about what became critical, fell silent or failed since the last
 * look. What to send is noted before it is sent, and forgotten when it was taken: an alert may come twice, and is not lost.
 */
export async function sendAlerts(app: AppInvocation): Promise<void> {
  for (const { value } of await list(app.table, rows.vaultIndexes())) {
    try {
      await alertVault(app, value.vaultId);
    } catch (error) {
      app.log(`the alerts of vault ${value.vaultId} could not be seen to; tried again in a minute`, error);
    }
  }
}

async function alertVault(app: AppInvocation, vaultId: VaultId): Promise<void> {
  const settings = (await read(app.table, rows.alertSettings(vaultId)))?.value;
  const channels = settings === undefined ? [] : channelsOf(settings);
  if (settings === undefined || channels.length === 0) return;
  const vault = await read(app.table, rows.vault(vaultId));
  if (vault === undefined) return;
  const state = await look(app, vaultId, channels);
  const now = await app.clock.now();
  for (const batch of state.pending.filter((each) => isDue(each, now))) {
    const failed = await send(app, vault.value, settings, batch);
    await changeState(app, vaultId, (current) => afterAttempt(current ?? state, batch.batchId, failed, now));
  }
}

const channelsOf = ({ emailAddresses, webhookUrls }: AlertSettings): string[] => [
  ...(emailAddresses.length > 0 ? [mailChannel] : []),
  ...webhookUrls,
];

/** What came since the last look is noted together with that it was looked at. The first look only says from when on. */
async function look(app: AppInvocation, vaultId: VaultId, channels: string[]): Promise<AlertState> {
  const now = await app.clock.now();
  const [events, jobs, fabrics] = await Promise.all([
    list(app.table, rows.events(vaultId), eventsLookedAtMax),
    list(app.table, rows.jobs(vaultId)),
    list(app.table, rows.fabrics(vaultId)),
  ]);
  const found = {
    events: events.map(({ value }) => value),
    jobs: jobs.map(({ value }) => value),
    sites: fabrics.map(({ value: fabric }) => ({
      fabricName: fabric.fabricName,
      name: fabric.inventory.vmmServerName,
      lastHeartbeatAt: fabric.lastHeartbeatAt,
      isConnected: isConnected(fabric, now),
    })),
  };
  const first: AlertState = {
    eventsThrough: eventNameOf(now, ''),
    jobsThrough: now.toString(),
    silentFabrics: [],
    pending: [],
  };
  const batch = { batchId: randomUUID(), channels, madeAt: now.toString() };
  return changeState(app, vaultId, (current) => {
    if (current === undefined) return first;
    const { alerts, state } = findAlerts(current, found, now);
    return alerts.length === 0 ? state : withBatch(state, { ...batch, alerts });
  });
}

/** Resolves with the row as it is then. */
async function changeState(
  app: AppInvocation,
  vaultId: VaultId,
  change: (state: AlertState | undefined) => AlertState,
): Promise<AlertState> {
  const ref = rows.alertState(vaultId);
  return decideAndCommit(app.table, ref.partition, async () => {
    const stored = await read(app.table, ref);
    const changed = change(stored?.value);
    const isSame = JSON.stringify(changed) === JSON.stringify(stored?.value);
    return { operations: isSame ? [] : [upsert(ref, changed)], result: changed };
  });
}

/** The channels that did not take it. One that is not set any more is passed over. */
async function send(
  app: AppInvocation,
  vault: Vault,
  settings: AlertSettings,
  { alerts, channels, batchId }: AlertBatch,
): Promise<string[]> {
  const failed: string[] = [];
  for (const channel of channels) {
    try {
      if (channel === mailChannel) await sendMail(app, vault, settings, alerts);
      else if (settings.webhookUrls.includes(channel)) await post(app, vault, channel, batchId, alerts);
    } catch (error) {
      failed.push(channel);
      app.log(`${alerts.length} alerts of vault ${vault.name} could not be sent; they are tried again`, error);
    }
  }
  return failed;
}

async function sendMail(
  app: AppInvocation,
  vault: Vault,
  { emailAddresses }: AlertSettings,
  alerts: AlertBatch['alerts'],
): Promise<void> {
  if (emailAddresses.length === 0) return;
  if (app.mailer === undefined) {
    app.log(`${alerts.length} alerts of vault ${vault.name} are mailed to nobody: UNDERSTUDY_SMTP_URL is not set`);
    return;
  }
  await app.mailer.send({ to: emailAddresses, ...mailOf(vault.name, alerts) });
}

async function post(
  app: AppInvocation,
  vault: Vault,
  url: string,
  batchId: string,
  alerts: AlertBatch['alerts'],
): Promise<void> {
  const options = { timeoutSeconds: webhookTimeoutSeconds, idempotencyKey: batchId };
  const { status } = await app.webhooks.post(url, { vaultId: vault.armId, vault: vault.name, alerts }, options);
  if (status >= 300) throw new Error(`a webhook answered with status ${status}`);
}
