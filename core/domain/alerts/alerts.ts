import { Temporal } from 'temporal-polyfill';
import type { ReplicationEvent } from '../health/health-events.js';
import { nextAttemptAt } from '../retry/retry-schedule.js';

/** What somebody is written to about. */
export interface Alert {
  /** Of docs/errors.md, or `VmHealth` where an item's health became critical. */
  code: string;
  /** A virtual machine, a recovery plan or a site. */
  about: string;
  message: string;
  recommendedAction: string;
  at: string;
}

/** Alerts of one look, on their way to who has not got them yet. */
export interface AlertBatch {
  batchId: string;
  alerts: Alert[];
  /** How many more there were than a batch holds: the list of events has them. */
  leftOutCount: number;
  /** `mail`, or the address of a webhook: those that have not got it yet. */
  channels: string[];
  /** Addresses that are still to be mailed to, where a server took the mail for the others. */
  mailTo?: string[];
  madeAt: string;
  attempts: number;
  nextAttemptAt: string;
}

/** What was looked at already, and what is still to be sent: one row a vault. */
export interface AlertState {
  /** Name of the newest event that was looked at; names sort newest first. */
  eventsThrough: string;
  pending: AlertBatch[];
}

const alertsPerBatchMax = 100;
const textMaxChars = 1000;
/** Texts of other scripts, and what JSON escapes, take several bytes a character. */
const batchMaxBytes = 300_000;
/** Of all that is on its way: half of what a row holds. */
const pendingMaxBytes = 450_000;
const keptHours = 24;

/**
 * Only what is older than this is looked at: what was written with a time may be committed a little later, and what the next look of
 * the watch takes back (every relay is silent just after Understudy itself was out) is no alert.
 */
const settledSeconds = 90;

/**
 * Alerts of what has come since the last look, and what was looked at with that: first sites and jobs, which are few and tell why,
 * then machines; each oldest first. `events`: newest first.
 */
export function findAlerts(
  state: AlertState,
  events: readonly ReplicationEvent[],
  now: Temporal.Instant,
): { alerts: Alert[]; state: AlertState } {
  const until = now.subtract({ seconds: settledSeconds });
  const fresh = events.filter(
    ({ eventName, at }) =>
      eventName < state.eventsThrough && Temporal.Instant.compare(Temporal.Instant.from(at), until) <= 0,
  );
  const isOver = clearedLaterIn(events);
  const isExplained = explainedBy(fresh);
  const told = fresh.filter((event) => isAlerting(event) && !isOver(event) && !isExplained(event)).reverse();
  const [wide, ofMachines] = [true, false].map((isWide) =>
    told.filter(({ eventType }) => (eventType !== undefined) === isWide),
  );
  return {
    alerts: [...(wide ?? []), ...(ofMachines ?? [])].map(eventAlert),
    state: { ...state, eventsThrough: fresh[0]?.eventName ?? state.eventsThrough },
  };
}

/**
 * What became critical: an item, a site whose relay is silent, a failover that failed; and that an RPO is above its threshold, which
 * is a warning among the reasons of an item's health.
 */
const isAlerting = ({ severity, kind, code }: ReplicationEvent): boolean =>
  severity === 'Critical' || (kind === 'raised' && code === 'US3058');

type Judge = (event: ReplicationEvent) => boolean;

/** What was raised and is cleared again. */
function clearedLaterIn(events: readonly ReplicationEvent[]): Judge {
  const keyOf = ({ itemId, code }: ReplicationEvent): string => `${itemId} ${code}`;
  const newest = new Map<string, string>();
  for (const event of events) {
    const key = keyOf(event);
    if (event.kind === 'cleared' && !newest.has(key)) newest.set(key, event.eventName);
  }
  return (event) => event.kind === 'raised' && (newest.get(keyOf(event)) ?? event.eventName) < event.eventName;
}

/** That a machine became critical says less than the reason that was raised with it. */
function explainedBy(events: readonly ReplicationEvent[]): Judge {
  const keyOf = ({ itemId, at }: ReplicationEvent): string => `${itemId} ${at}`;
  const reasons = events.filter(({ kind, severity }) => kind === 'raised' && severity === 'Critical');
  const explained = new Set(reasons.map(keyOf));
  return (event) => event.kind === 'levelChanged' && explained.has(keyOf(event));
}

const eventAlert = ({ code, vmName, message, recommendedAction, at }: ReplicationEvent): Alert => ({
  code,
  about: vmName,
  message,
  recommendedAction,
  at,
});

/**
 * With the alerts on their way. Of a storm the first are told and the others counted; beyond a bound the oldest batches are given
 * up, which only a mail server that is gone comes to.
 */
export function withBatch(
  state: AlertState,
  batch: Pick<AlertBatch, 'batchId' | 'alerts' | 'channels' | 'madeAt'>,
): AlertState {
  const alerts = batch.alerts.slice(0, alertsPerBatchMax).map((alert) => ({
    ...alert,
    message: shortened(alert.message),
    recommendedAction: shortened(alert.recommendedAction),
  }));
  while (alerts.length > 1 && jsonBytes(alerts) > batchMaxBytes) alerts.pop();
  const leftOutCount = batch.alerts.length - alerts.length;
  const pending = [...state.pending, { ...batch, alerts, leftOutCount, attempts: 0, nextAttemptAt: batch.madeAt }];
  while (pending.length > 1 && jsonBytes(pending) > pendingMaxBytes) pending.shift();
  return { ...state, pending };
}

const shortened = (text: string): string => (text.length > textMaxChars ? `${text.slice(0, textMaxChars - 1)}…` : text);
const jsonBytes = (value: unknown): number => new TextEncoder().encode(JSON.stringify(value)).length;

export const isDue = ({ nextAttemptAt }: AlertBatch, now: Temporal.Instant): boolean =>
  Temporal.Instant.compare(Temporal.Instant.from(nextAttemptAt), now) <= 0;

/** One channel took it; `leftToMail`: but for these addresses, which are tried again. */
export function afterSending(
  state: AlertState,
  batchId: string,
  channel: string,
  leftToMail: readonly string[] = [],
): AlertState {
  return changeBatch(state, batchId, ({ mailTo: _, ...batch }) => {
    if (leftToMail.length > 0) return { ...batch, mailTo: [...leftToMail] };
    return { ...batch, channels: batch.channels.filter((each) => each !== channel) };
  });
}

/** After an attempt: who has not got it is tried again by the schedule of all retries, for a day. */
export function afterAttempt(state: AlertState, batchId: string, now: Temporal.Instant): AlertState {
  return changeBatch(state, batchId, (batch) => {
    if (now.since(Temporal.Instant.from(batch.madeAt)).total('hours') >= keptHours) return { ...batch, channels: [] };
    const attempts = batch.attempts + 1;
    return { ...batch, attempts, nextAttemptAt: nextAttemptAt(now, attempts, now).toString() };
  });
}

/** A batch that nobody waits for any more is forgotten. */
function changeBatch(state: AlertState, batchId: string, change: (batch: AlertBatch) => AlertBatch): AlertState {
  const pending = state.pending
    .map((batch) => (batch.batchId === batchId ? change(batch) : batch))
    .filter(({ channels }) => channels.length > 0);
  return { ...state, pending };
}

/** Plain words, which could be read aloud. */
export function mailOf(
  vaultName: string,
  { alerts, leftOutCount }: Pick<AlertBatch, 'alerts' | 'leftOutCount'>,
): { subject: string; text: string } {
  const names = [...new Set(alerts.map(({ about }) => about))];
  const shown = names.slice(0, 3).join(', ');
  const more = names.length > 3 ? ` and ${names.length - 3} more` : '';
  const lines = alerts.map(
    ({ at, about, message, code, recommendedAction }) =>
      `${at}  ${about}\n${message} (${code})\nWhat to do: ${recommendedAction}\n`,
  );
  const others = leftOutCount > 0 ? `And ${leftOutCount} more: see the vault’s events and jobs.\n\n` : '';
  return {
    subject: `Understudy, vault ${vaultName}: ${shown}${more}`,
    text: `${lines.join('\n')}\n${others}Codes are explained in docs/errors.md. Who gets this is set by the vault’s alert settings.\n`,
  };
}
