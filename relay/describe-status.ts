import type { ItemReport } from '../core/domain/relay-protocol/wire.js';
import type { RelayStatus } from './status-file.js';

const mebibytes = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(1)} MiB`;

/** The status for a person: one line an item, and below it what is wrong and what to do. */
export function describeStatus({
  endpoint,
  isRunning,
  status,
}: {
  endpoint: string;
  isRunning: boolean;
  status: RelayStatus | undefined;
}): string {
  const lines = [
    `relay   ${isRunning ? `running, process ${status?.pid ?? 'unknown'}` : 'not running'}`,
    `app     ${endpoint}`,
  ];
  if (status === undefined) return lines.join('\n');
  lines[1] += isRunning ? ` (${status.contact})` : '';
  lines.push(`memory  ${mebibytes(status.memoryRssBytes)}, at most ${mebibytes(status.memoryRssPeakBytes)}`);
  lines.push(`as of   ${status.writtenAt}`);
  for (const item of status.items) {
    const sent = describeBase(item);
    const missed = item.missedCycleCount === 0 ? '' : `, ${item.missedCycleCount} cycles missed`;
    lines.push(`  ${item.vmName}: ${item.activity}${sent}, ${mebibytes(item.backlogBytes)} not sent yet${missed}`);
    if (!item.lastError) continue;
    const { code, message, recommendedAction, nextAttemptAt, blocking } = item.lastError;
    lines.push(`    ${code} ${message}`);
    const next = nextAttemptAt === undefined ? '' : ` Next attempt at ${nextAttemptAt}.`;
    lines.push(`    ${recommendedAction}${blocking === true ? ' Then resume replication.' : next}`);
  }
  if (status.items.length === 0) lines.push('  no virtual machine is assigned to this relay');
  return lines.join('\n');
}

function describeBase({ activity, initialReplication, resynchronization }: ItemReport): string {
  if (initialReplication && activity === 'initialReplication') {
    return ` ${percent(initialReplication.sentBytes, initialReplication.totalBytes)}`;
  }
  if (!resynchronization || activity !== 'resynchronization') return '';
  const { comparedBytes, totalBytes, sentBytes } = resynchronization;
  return ` ${percent(comparedBytes, totalBytes)} compared, ${mebibytes(sentBytes)} differed`;
}

const percent = (part: number, whole: number): string =>
  `${whole === 0 ? 100 : Math.floor((part / whole) * 100)}% of ${mebibytes(whole)}`;
