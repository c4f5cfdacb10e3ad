/** What is logged of one disk and not yet acknowledged by the cloud, the open log included (docs/architecture.md, rule 4). */
export interface DiskLog {
  readonly diskName: string;
  readonly diskSizeBytes: number;
  readonly logBytes: number;
}

export type LogVerdict =
  { kind: 'withinLimits' } | { kind: 'diskLogTooLarge'; diskName: string } | { kind: 'vmLogsTooLarge' };

/**
 * The 50% rule: a log at or over half of its disk's size, or all logs over half of all disks' sizes, costs more than
 * comparing the disks.
 */
export function judgeLogSizes(disks: readonly DiskLog[]): LogVerdict {
  const tooLarge = disks.find(({ logBytes, diskSizeBytes }) => logBytes * 2 >= diskSizeBytes);
  if (tooLarge !== undefined) return { kind: 'diskLogTooLarge', diskName: tooLarge.diskName };
  const sum = (pick: (disk: DiskLog) => number) => disks.reduce((total, disk) => total + pick(disk), 0);
  return sum((disk) => disk.logBytes) * 2 > sum((disk) => disk.diskSizeBytes)
    ? { kind: 'vmLogsTooLarge' }
    : { kind: 'withinLimits' };
}
