import { MultiBar, Presets, type SingleBar } from 'cli-progress';
import type { Logger } from 'pino';

/** Shows how far initial replications are. */
export interface Progress {
  /** `sentBytes` of `totalBytes` of the item's disks are with the app. */
  show(item: { itemId: string; vmName: string }, sentBytes: number, totalBytes: number): void;
  /** The item's initial replication is over or given up. */
  drop(itemId: string): void;
  close(): void;
}

const mebibyte = 1024 * 1024;
const lineEveryPercent = 10;

/** A bar for each item, for a person at a terminal. */
export function barsProgress(stream: NodeJS.WriteStream): Progress {
  const bars = new Map<string, SingleBar>();
  const format = '{vm} initial replication [{bar}] {percentage}% {value}/{total} MiB';
  const multi = new MultiBar(
    { format, stream, hideCursor: true, clearOnComplete: false, emptyOnZero: true },
    Presets.shades_classic,
  );
  return {
    show({ itemId, vmName }, sentBytes, totalBytes) {
      const sent = Math.floor(sentBytes / mebibyte);
      const bar = bars.get(itemId);
      if (bar) bar.update(sent);
      else bars.set(itemId, multi.create(Math.ceil(totalBytes / mebibyte), sent, { vm: vmName }));
    },
    drop(itemId) {
      const bar = bars.get(itemId);
      if (bar) multi.remove(bar);
      bars.delete(itemId);
    },
    close: () => multi.stop(),
  };
}

/** A line at each tenth, for logs and pipes. */
export function linesProgress(log: Logger): Progress {
  const shown = new Map<string, number>();
  return {
    show({ itemId, vmName }, sentBytes, totalBytes) {
      const percent = totalBytes === 0 ? 100 : (sentBytes / totalBytes) * 100;
      const step = Math.floor(percent / lineEveryPercent) * lineEveryPercent;
      if (shown.get(itemId) === step) return;
      shown.set(itemId, step);
      log.info({ item: itemId, vm: vmName, sentBytes, totalBytes }, `initial replication: ${step}% sent`);
    },
    drop: (itemId) => shown.delete(itemId),
    close: () => shown.clear(),
  };
}
