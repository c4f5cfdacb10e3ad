import { Temporal } from 'temporal-polyfill';
import type { ReplicationEvent } from '../health/health-events.js';
import type { Job } from '../jobs/job.js';
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
  /** Jobs that ended until then were looked at. */
  jobsThrough: string;
  silentFabrics: string[];
  pending: AlertBatch[];
}

/** A site as far as alerts go. */
export interface SiteContact {
  fabricName: string;
  name: string;
  lastHeartbeatAt: string;
  isConnected: boolean;
}

const alertsPerBatchMax = 100;
const textMaxChars = 1000;
/** Of all that is on its way: half of what a row holds. */
const pendingMaxBytes = 450_000;
const keptHours = 24;

/** Scenarios whose failure must not wait until somebody looks. */
const alerting: ReadonlySet<string> = new Set([
  'PlannedFailover',
  'UnplannedFailover',
  'CommitFailover',
  'ReverseReplicate',
  'ReprotectReplicationGroup',
]);

/** What was written with a time may be committed a little later: only what is older than this is looked at. */
const settledSeconds = 30;

/** Alerts of what has come since the last look, oldest first, and what was looked at with that. `events`: newest first. */
export function findAlerts(
  state: AlertState,
  found: { events: readonly ReplicationEvent[]; jobs: readonly Job[]; sites: readonly SiteContact[] },
  now: Temporal.Instant,
): { alerts: Alert[]; state: AlertState } {
  const until = now.subtract({ seconds: settledSeconds });
  const isSettled = (at: string): boolean => compare(at, until) <= 0;
  const fresh = found.events.filter(({ eventName, at }) => eventName < state.eventsThrough && isSettled(at));
  const since = Temporal.Instant.from(state.jobsThrough);
  const ended = found.jobs.filter(
    ({ endedAt }) => endedAt !== undefined && compare(endedAt, since) > 0 && isSettled(endedAt),
  );
  const silent = found.sites.filter(({ isConnected }) => !isConnected);
  const alerts = [
    ...fresh.filter(isAlertingEvent).map(eventAlert),
    ...ended.filter(isAlerting).map(jobAlert),
    ...silent
      .filter(({ fabricName }) => !state.silentFabrics.includes(fabricName))
      .map((site) => siteAlert(site, now.toString())),
  ].sort((one, other) => compare(one.at, Temporal.Instant.from(other.at)));
  return {
    alerts,
    state: {
      ...state,
      eventsThrough: fresh[0]?.eventName ?? state.eventsThrough,
      jobsThrough: ended.reduce(
        (latest, { endedAt = latest }) => (compare(endedAt, Temporal.Instant.from(latest)) > 0 ? endedAt : latest),
        state.jobsThrough,
      ),
      silentFabrics: silent.map(({ fabricName }) => fabricName),
    },
  };
}

const compare = (at: string, other: Temporal.Instant): number =>
  Temporal.Instant.compare(Temporal.Instant.from(at), other);

/** What became critical; and that an RPO is above its threshold, which is a warning among the reasons of health. */
const isAlertingEvent = ({ severity, kind, code }: ReplicationEvent): boolean =>
  severity === 'Critical' || (kind === 'raised' && code === 'US3058');

/** A part of a plan's run is told by the plan's job. */
const isAlerting = ({ state, scenarioName, planJobName }: Job): boolean =>
  state === 'Failed' && alerting.has(scenarioName) && planJobName === undefined;

const eventAlert = ({ code, vmName, message, recommendedAction, at }: ReplicationEvent): Alert => ({
  code,
  about: vmName,
  message,
  recommendedAction,
  at,
});

const jobAlert = ({ friendlyName, targetObjectName, errors, endedAt = '', jobName }: Job): Alert => ({
  code: errors[0]?.code ?? 'JobFailed',
  about: targetObjectName,
  message: `${friendlyName} failed: ${errors[0]?.message ?? 'see the job'} (job ${jobName})`,
  recommendedAction: errors[0]?.recommendedAction ?? 'See the job for its tasks and errors.',
  at: endedAt,
});

const siteAlert = ({ name, lastHeartbeatAt }: SiteContact, now: string): Alert => ({
  code: 'US1112',
  about: name,
  message: `the relay of ${name} was last heard of at ${lastHeartbeatAt}`,
  recommendedAction: 'Look at the relay and its way to Azure; if the site is lost, fail over.',
  at: now,
});

/**
 * With the alerts on their way. Of a storm the newest are told and the others counted; beyond a bound the oldest batches are given
 * up, which only a mail server that is gone comes to.
 */
export function withBatch(
  state: AlertState,
  batch: Pick<AlertBatch, 'batchId' | 'alerts' | 'channels' | 'madeAt'>,
): AlertState {
  const alerts = batch.alerts.slice(-alertsPerBatchMax).map((alert) => ({
    ...alert,
    message: shortened(alert.message),
    recommendedAction: shortened(alert.recommendedAction),
  }));
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
