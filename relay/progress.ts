import { MultiBar, Presets, type SingleBar } from 'cli-progress';
import type { Logger } from 'pino';

/** Shows how far initial replications and resynchronizations are. */
export interface Progress {
  /** `doneBytes` of `totalBytes` of the item's disks are with the app. */
  show(item: { itemId: string; vmName: string; what: string }, doneBytes: number, totalBytes: number): void;
  /** The item's base is complete or given up. */
  drop(itemId: string): void;
  close(): void;
}

const mebibyte = 1024 * 1024;
const lineEveryPercent = 10;

/** A bar for each item, for a person at a terminal. */
export function barsProgress(stream: NodeJS.WriteStream): Progress {
  const bars = new Map<string, SingleBar>();
  const format = '{vm} {what} [{bar}] {percentage}% {value}/{total} MiB';
  const multi = new MultiBar(
    { format, stream, hideCursor: true, clearOnComplete: false, emptyOnZero: true },
    Presets.shades_classic,
  );
  return {
    show({ itemId, vmName, what }, doneBytes, totalBytes) {
      const done = Math.floor(doneBytes / mebibyte);
      const bar = bars.get(itemId);
      if (bar) bar.update(done, { what });
      else bars.set(itemId, multi.create(Math.ceil(totalBytes / mebibyte), done, { vm: vmName, what }));
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
    show({ itemId, vmName, what }, doneBytes, totalBytes) {
      const percent = totalBytes === 0 ? 100 : (doneBytes / totalBytes) * 100;
      const step = Math.floor(percent / lineEveryPercent) * lineEveryPercent;
      if (shown.get(itemId) === step) return;
      shown.set(itemId, step);
      log.info({ item: itemId, vm: vmName, doneBytes, totalBytes }, `${what}: ${step}% done`);
    },
    drop: (itemId) => shown.delete(itemId),
    close: () => shown.clear(),
  };
}
