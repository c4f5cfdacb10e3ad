import { UnderstudyError } from '../core/domain/errors.js';
import { asVmId, type VmId } from '../core/domain/ids.js';
import type { BlobTransfer } from '../core/ports/blob-transfer.js';
import type { AppClient } from './app-client.js';
import { AppUnreachableError } from './errors.js';
import { pauseUnless } from './interruptible-pause.js';

/** What is the matter with the line between the site and Azure, of one VM or as a whole. */
export interface LineFaults {
  current(vmId?: VmId): Promise<'none' | 'cut' | 'slow'>;
}

/** What a slow line carries in both directions, of the whole relay: about an old leased line. */
export const slowLineBytesPerSecond = 128 * 1024;
/** A slow line is paced in pieces, so that what moves is seen to move. */
const pieceBytes = 16 * 1024;
/** How soon a call that is under way notices that the line is cut. */
const lookMilliseconds = 250;
/** Places whose VM is remembered: many more than travel at once. */
const placesMax = 1000;

const found = 'the line is cut (fault network-cut of the site)';

/**
 * The app and storage as they are seen over a line that is cut or slow on demand. What is cut fails before it is sent, as
 * if the network were down; what waits for an answer then does not get it.
 */
export function overFaultyLine(
  line: { client: AppClient; blobs: BlobTransfer; endpoint: string },
  faults: LineFaults,
): { client: AppClient; blobs: BlobTransfer } {
  const { client, blobs, endpoint } = line;
  const vmByItem = new Map<string, VmId>();
  const vmByPlace = new Map<string, VmId>();
  const pace = new Pace(slowLineBytesPerSecond);

  /** Runs what goes over the line unless that is cut, and breaks it off when it is. */
  async function over<T>(
    vmId: VmId | undefined,
    failure: () => Error,
    outer: AbortSignal | undefined,
    send: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    if ((await faults.current(vmId)) === 'cut') throw failure();
    const cut = new AbortController();
    const look = async () => {
      const state = await faults.current(vmId).catch(() => 'none');
      if (state === 'cut') cut.abort(failure());
    };
    const timer = setInterval(() => void look(), lookMilliseconds);
    try {
      const answer = await send(outer ? AbortSignal.any([outer, cut.signal]) : cut.signal);
      // Of a call that takes no signal the answer is lost.
      cut.signal.throwIfAborted();
      return answer;
    } finally {
      clearInterval(timer);
    }
  }

  const call = <T>(
    what: string,
    itemId: string | undefined,
    send: (signal: AbortSignal) => Promise<T>,
    outer?: AbortSignal,
  ): Promise<T> => {
    const vmId = itemId === undefined ? undefined : vmByItem.get(itemId);
    return over(vmId, () => new AppUnreachableError(what, endpoint, found), outer, send);
  };

  const remember = (itemId: string, url: string): void => {
    const vmId = vmByItem.get(itemId);
    if (vmId === undefined) return;
    vmByPlace.set(new URL(url).pathname, vmId);
    const [oldest] = vmByPlace.keys();
    if (vmByPlace.size > placesMax && oldest !== undefined) vmByPlace.delete(oldest);
  };

  async function* paced(vmId: VmId | undefined, chunks: AsyncIterable<Buffer>, signal: AbortSignal) {
    for await (const chunk of chunks) {
      const isSlow = (await faults.current(vmId)) === 'slow';
      const stepBytes = isSlow ? pieceBytes : chunk.length;
      for (let at = 0; at < chunk.length; at += stepBytes) {
        const piece = chunk.subarray(at, at + stepBytes);
        if (isSlow) await pace.carry(piece.length, signal);
        yield piece;
      }
    }
  }

  const transfer = <T>(
    url: string,
    outer: AbortSignal | undefined,
    send: (signal: AbortSignal, vmId: VmId | undefined) => Promise<T>,
  ): Promise<T> => {
    const place = new URL(url).pathname;
    const vmId = vmByPlace.get(place);
    return over(
      vmId,
      () => storageOutOfReach(place),
      outer,
      (signal) => send(signal, vmId),
    );
  };

  return {
    client: {
      assignments: async (version, waitSeconds, signal) => {
        const send = (both: AbortSignal) => client.assignments(version, waitSeconds, both);
        const answer = await call('asking for assignments', undefined, send, signal);
        for (const { itemId, vmId } of answer.assignments) vmByItem.set(itemId, asVmId(vmId));
        return answer;
      },
      putInventory: (inventory) => call('reporting the inventory', undefined, () => client.putInventory(inventory)),
      heartbeat: (report) => call('sending the heartbeat', undefined, () => client.heartbeat(report)),
      postCommandResult: (commandId, result) =>
        call('reporting a command’s result', undefined, () => client.postCommandResult(commandId, result)),
      requestUpload: async (itemId, request, signal) => {
        const send = (both: AbortSignal) => client.requestUpload(itemId, request, both);
        const granted = await call('asking for a place to upload to', itemId, send, signal);
        remember(itemId, granted.url);
        return granted;
      },
      requestDigests: async (itemId, request, signal) => {
        const send = (both: AbortSignal) => client.requestDigests(itemId, request, both);
        const granted = await call('asking for checksums', itemId, send, signal);
        remember(itemId, granted.url);
        return granted;
      },
      requestDisk: async (itemId, request, signal) => {
        const send = (both: AbortSignal) => client.requestDisk(itemId, request, both);
        const granted = await call('asking for a disk in Azure', itemId, send, signal);
        remember(itemId, granted.url);
        return granted;
      },
      reportFailback: (itemId, report) =>
        call('reporting on the failback', itemId, () => client.reportFailback(itemId, report)),
      announceSegment: (itemId, segment) =>
        call('announcing a segment', itemId, () => client.announceSegment(itemId, segment)),
      announceCycle: (itemId, manifest) =>
        call('announcing a cycle', itemId, () => client.announceCycle(itemId, manifest)),
      reportResyncRequired: (itemId, report) =>
        call('reporting that a resync is required', itemId, () => client.reportResyncRequired(itemId, report)),
      reportBaseStarted: (itemId, report) =>
        call('reporting that the base has started', itemId, () => client.reportBaseStarted(itemId, report)),
    },
    blobs: {
      upload: (options) =>
        transfer(options.url, options.signal, (signal, vmId) =>
          blobs.upload({ ...options, signal, chunks: paced(vmId, options.chunks, signal) }),
        ),
      readRange: (url, offsetBytes, lengthBytes, outer) =>
        transfer(url, outer, async (signal, vmId) => {
          if ((await faults.current(vmId)) === 'slow') await pace.carry(lengthBytes, signal);
          return blobs.readRange(url, offsetBytes, lengthBytes, signal);
        }),
    },
  };
}

/** Shares a rate among all who carry, in system time. */
class Pace {
  readonly #bytesPerSecond: number;
  #freeAt = 0;

  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond;
  }

  async carry(bytes: number, signal: AbortSignal): Promise<void> {
    const now = performance.now();
    this.#freeAt = Math.max(now, this.#freeAt) + (bytes / this.#bytesPerSecond) * 1000;
    await pauseUnless(signal, this.#freeAt - now);
    signal.throwIfAborted();
  }
}

function storageOutOfReach(place: string): UnderstudyError {
  return new UnderstudyError({
    code: 'US6020',
    message: `US6020 ${place}: the storage service cannot be reached: ${found}`,
    recommendedAction: 'Clear the fault at the site, or wait: it is tried again.',
    retry: 'later',
    httpStatus: 503,
  });
}
