import { InvalidArgumentError, type Command } from 'commander';
import { time } from './table.js';
import type { FoundItem, Vault } from './vault-client.js';

/** What the commands share: the vault of the global options, messages, and the result as a table or as JSON. */
export interface CommandLine {
  vault: () => Vault;
  say: (message: string) => void;
  show: <Row extends Record<string, string | number | undefined>>(
    raw: unknown,
    rows: Row[],
    columns: (keyof Row & string)[],
  ) => void;
}

interface Statistics {
  vmName: string;
  health: string;
  reasons: { level: string; code: string; message: string; recommendedAction: string }[];
  rpoSeconds?: number;
  paused: boolean;
  lastSendAt?: string;
  lastHeartbeatAt?: string;
  backlogBytes: number;
  monitoringInterval: { from: string; to: string };
  cycles: { succeeded: number; total: number; missedPercent: number };
  cycleBytes: { average: number; largest: number };
  latencySeconds: { average: number; largest: number };
  freezeFailureCount: number;
  resynchronization?: {
    jobName: string;
    startedAt: string;
    comparedBytes?: number;
    totalBytes?: number;
    sentBytes?: number;
  };
}

interface Settings {
  resync: { mode: string; windowStart: string; windowEnd: string; timeZone?: string | undefined; atOnceMax: number };
  rpoThresholdSeconds: number;
}

const itemOption = ['--item <name>', 'the item’s name or its VM’s'] as const;
const siteTimeZone = 'site';

const moment = (text: string | undefined): string => (text === undefined ? 'never' : time(new Date(text)));

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value)) throw new InvalidArgumentError('a whole number is needed');
  return value;
}

export function addReplicationCommands(program: Command, line: CommandLine): void {
  addHealth(program, line);
  addResync(program, line);
  addPauseAndResume(program, line);
  addSettings(program, line);
  addEvents(program, line);
}

function addHealth(program: Command, { vault, show }: CommandLine): void {
  program
    .command('health')
    .description(
      'show how an item was replicated in the last 12 hours, and its health with every reason and what to do',
    )
    .requiredOption(...itemOption)
    .action(async (options: { item: string }) => {
      const connected = vault();
      const { armId } = itemIds(await connected.item(options.item));
      const query = `itemId=${encodeURIComponent(armId)}`;
      const found = await connected.call<Statistics>('GET', `/understudy/v1/replicationStatistics?${query}`);
      show(found, [...statisticsRows(found), ...reasonRows(found)], ['what', 'value']);
    });
}

function statisticsRows(found: Statistics): { what: string; value: string | number }[] {
  const { resynchronization: resync } = found;
  const progress =
    resync === undefined
      ? []
      : [
          {
            what: 'resynchronization',
            value:
              `since ${moment(resync.startedAt)}, compared ${resync.comparedBytes ?? 0} of ${resync.totalBytes ?? '?'} bytes, ` +
              `sent ${resync.sentBytes ?? 0} (job ${resync.jobName})`,
          },
        ];
  return [
    { what: 'vm', value: found.vmName },
    { what: 'health', value: found.health },
    { what: 'replication', value: found.paused ? 'paused' : 'not paused' },
    { what: 'rpo s', value: found.rpoSeconds ?? 'none' },
    { what: 'last send', value: moment(found.lastSendAt) },
    { what: 'relay heard', value: moment(found.lastHeartbeatAt) },
    { what: 'still to send, bytes', value: found.backlogBytes },
    {
      what: 'monitoring interval',
      value: `${moment(found.monitoringInterval.from)} to ${moment(found.monitoringInterval.to)}`,
    },
    {
      what: 'cycles',
      value: `${found.cycles.succeeded} of ${found.cycles.total} (${found.cycles.missedPercent}% missed)`,
    },
    {
      what: 'cycle size, bytes',
      value: `${found.cycleBytes.average} on average, ${found.cycleBytes.largest} the largest`,
    },
    {
      what: 'latency s',
      value: `${found.latencySeconds.average} on average, ${found.latencySeconds.largest} the largest`,
    },
    { what: 'failed freezes', value: found.freezeFailureCount },
    ...progress,
  ];
}

const reasonRows = ({ reasons }: Statistics): { what: string; value: string }[] =>
  reasons.map(({ level, code, message, recommendedAction }) => ({
    what: `${level} ${code}`,
    value: `${message}. ${recommendedAction}`,
  }));

function addResync(program: Command, { vault, say, show }: CommandLine): void {
  program
    .command('resync')
    .description(
      'resynchronize an item now, whatever the window says: source and replica are compared, what differs is sent',
    )
    .requiredOption(...itemOption)
    .option('--wait', 'wait until it is complete', false)
    .action(async (options: { item: string; wait: boolean }) => {
      const connected = vault();
      const { path } = itemIds(await connected.item(options.item));
      const poller = await connected.sdk.replicationProtectedItems.beginRepairReplication(...connected.scope, ...path, {
        updateIntervalInMs: 500,
      });
      say(`resynchronizing ${options.item}; see: health --item ${options.item}`);
      if (options.wait) await poller.pollUntilDone();
      const item = await connected.sdk.replicationProtectedItems.get(...connected.scope, ...path);
      const { friendlyName, protectionStateDescription, replicationHealth, currentScenario } = item.properties ?? {};
      show(
        item,
        [
          {
            vm: friendlyName,
            state: protectionStateDescription,
            health: replicationHealth,
            job: currentScenario?.jobId?.split('/').at(-1),
          },
        ],
        ['vm', 'state', 'health', 'job'],
      );
    });
}

function addPauseAndResume(program: Command, { vault, show }: CommandLine): void {
  const add = (verb: 'pause' | 'resume', description: string): void => {
    program
      .command(verb)
      .description(description)
      .requiredOption(...itemOption)
      .action(async (options: { item: string }) => {
        const connected = vault();
        const { armId } = itemIds(await connected.item(options.item));
        const answer = await connected.call<{ paused: boolean }>('POST', `/understudy/v1/${verb}Replication`, {
          itemId: armId,
        });
        show(
          answer,
          [{ item: options.item, replication: answer.paused ? 'paused' : 'not paused' }],
          ['item', 'replication'],
        );
      });
  };
  add('pause', 'send nothing more of an item until it is resumed; its changes are logged at the source meanwhile');
  add('resume', 'go on after a pause; also tries at once whatever waits after a failure, paused or not');
}

interface SettingsOptions {
  mode?: string;
  windowStart?: string;
  windowEnd?: string;
  timeZone?: string;
  atOnce?: number;
  rpoThreshold?: number;
}

function addSettings(program: Command, { vault, show }: CommandLine): void {
  program
    .command('settings')
    .description('show the vault’s replication settings; with options, change those and leave the others as they are')
    .option('--mode <mode>', 'marked items are resynchronized: window, manual (never by themselves) or immediate')
    .option('--window-start <HH:MM>', 'the window in which resynchronizations begin')
    .option('--window-end <HH:MM>', 'its end, on the next day where it is before the start; running ones run on')
    .option('--time-zone <name>', `IANA time zone of the window, or "${siteTimeZone}" for each site’s own`)
    .option('--at-once <count>', 'how many resynchronizations run at the same time at most', wholeNumber)
    .option('--rpo-threshold <seconds>', 'an RPO above this is reported as a warning', wholeNumber)
    .action(async (options: SettingsOptions) => {
      const connected = vault();
      const path = `/understudy/v1/replicationSettings?vaultId=${encodeURIComponent(connected.armId)}`;
      const present = await connected.call<Settings>('GET', path);
      const settings =
        Object.keys(options).length === 0
          ? present
          : await connected.call<Settings>('PUT', path, changedSettings(present, options));
      const { resync, rpoThresholdSeconds } = settings;
      show(
        settings,
        [
          {
            mode: resync.mode,
            window: `${resync.windowStart}-${resync.windowEnd}`,
            'time zone': resync.timeZone ?? 'of the site',
            'at once': resync.atOnceMax,
            'rpo threshold s': rpoThresholdSeconds,
          },
        ],
        ['mode', 'window', 'time zone', 'at once', 'rpo threshold s'],
      );
    });
}

function changedSettings({ resync, rpoThresholdSeconds }: Settings, options: SettingsOptions): Settings {
  return {
    resync: {
      mode: options.mode ?? resync.mode,
      windowStart: options.windowStart ?? resync.windowStart,
      windowEnd: options.windowEnd ?? resync.windowEnd,
      // JSON leaves out what is undefined.
      timeZone: options.timeZone === siteTimeZone ? undefined : (options.timeZone ?? resync.timeZone),
      atOnceMax: options.atOnce ?? resync.atOnceMax,
    },
    rpoThresholdSeconds: options.rpoThreshold ?? rpoThresholdSeconds,
  };
}

function addEvents(program: Command, { vault, show }: CommandLine): void {
  program
    .command('events')
    .description('list changes of health of the last 30 days, the newest first')
    .option(...itemOption)
    .option('--severity <severity>', 'Critical, Warning or OK')
    .option('--since <time>', 'from this time on, such as 2026-01-31T18:30:00Z')
    .action(async (options: { item?: string; severity?: string; since?: string }) => {
      const connected = vault();
      const vmName = options.item && (await connected.item(options.item)).item.properties?.friendlyName;
      const term = (name: string, value: string | undefined): string[] =>
        value === undefined ? [] : [`${name} eq '${value.replaceAll("'", "''")}'`];
      const filter = [
        ...term('affectedObjectFriendlyName', vmName),
        ...term('severity', options.severity),
        ...term('startTime', options.since),
      ].join(' and ');
      const events = await connected.events(filter === '' ? undefined : filter);
      const rows = events.map(({ properties }) => ({
        time: time(properties?.timeOfOccurrence),
        vm: properties?.affectedObjectFriendlyName,
        severity: properties?.severity,
        code: properties?.eventCode,
        event: properties?.description,
        'what to do': properties?.severity === 'OK' ? '' : properties?.healthErrors?.[0]?.recommendedAction,
      }));
      show(events, rows, ['time', 'vm', 'severity', 'code', 'event', 'what to do']);
    });
}

/** The names of the item's path as the SDK takes them, and its ARM id. */
function itemIds({ item, fabricName, containerName, itemName }: FoundItem): {
  armId: string;
  path: [string, string, string];
} {
  return { armId: item.id ?? '', path: [fabricName, containerName, itemName] };
}
