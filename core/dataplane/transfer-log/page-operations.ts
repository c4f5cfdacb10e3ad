/** From frames to page operations within Azure's limits: 512-byte pages, at most 4 MiB a write, inside the blob. */
import { pageWriteMaxBytes } from '../../ports/replica-store.js';
import { chunkLengthBytes } from '../disk-chunk.js';
import type { RandomReader } from '../random-access.js';
import { readFrames, type TransferLogIndex } from './reader.js';
import type { Frame } from './layout.js';

/** One call to the store, made of whole neighbouring frames. */
export interface PlannedPageOperation {
  readonly kind: 'write' | 'clear';
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly firstFrame: number;
  readonly frameCount: number;
}

export type PageOperation =
  | { readonly kind: 'write'; readonly offsetBytes: number; readonly data: Buffer }
  | { readonly kind: 'clear'; readonly offsetBytes: number; readonly lengthBytes: number };

/** The operations of the frames `[from, to)`. Clearing has no length limit. */
export function* planPageOperations(
  index: TransferLogIndex,
  from = 0,
  to = index.frameCount,
): Generator<PlannedPageOperation, void> {
  let planned: PlannedPageOperation | undefined;
  for (let at = from; at < to; at++) {
    const frame = index.frame(at);
    const joined = planned === undefined ? undefined : join(planned, frame);
    if (joined === undefined && planned !== undefined) yield planned;
    planned = joined ?? {
      kind: kindOf(frame),
      offsetBytes: frame.offsetBytes,
      lengthBytes: frame.lengthBytes,
      firstFrame: at,
      frameCount: 1,
    };
  }
  if (planned !== undefined) yield planned;
}

const kindOf = (frame: Frame): 'write' | 'clear' => (frame.codec === 'zeros' ? 'clear' : 'write');

function join(planned: PlannedPageOperation, frame: Frame): PlannedPageOperation | undefined {
  const lengthBytes = planned.lengthBytes + frame.lengthBytes;
  const joins =
    kindOf(frame) === planned.kind &&
    frame.offsetBytes === planned.offsetBytes + planned.lengthBytes &&
    (planned.kind === 'clear' || lengthBytes <= pageWriteMaxBytes);
  return joins ? { ...planned, lengthBytes, frameCount: planned.frameCount + 1 } : undefined;
}

/** The planned operations with their data, in order, every frame's digest verified. */
export async function* readPageOperations(
  log: RandomReader,
  index: TransferLogIndex,
  from = 0,
  to = index.frameCount,
): AsyncGenerator<PageOperation, void> {
  const plan = planPageOperations(index, from, to);
  let planned = plan.next();
  let parts: Buffer[] = [];
  let partsBytes = 0;
  for await (const chunk of readFrames(log, index, from, to)) {
    if (planned.done === true) throw new Error('more frames than planned');
    partsBytes += chunkLengthBytes(chunk);
    if (chunk.kind === 'data') parts.push(chunk.data);
    const { kind, offsetBytes, lengthBytes } = planned.value;
    if (partsBytes < lengthBytes) continue;
    const [only] = parts;
    if (kind === 'clear') yield { kind, offsetBytes, lengthBytes };
    else yield { kind, offsetBytes, data: only !== undefined && parts.length === 1 ? only : Buffer.concat(parts) };
    parts = [];
    partsBytes = 0;
    planned = plan.next();
  }
}

/** What a frame costs beside its bytes, in bytes: a request of its own, however short it is. */
const frameCostBytes = 64 * 1024;

/** Parts the log into at most `sliceCount` runs of frames that cost about the same, for activities in parallel. */
export function sliceFrames(index: TransferLogIndex, sliceCount: number): { from: number; to: number }[] {
  if (sliceCount < 1) throw new RangeError(`${sliceCount} slices`);
  const cost = (at: number): number => {
    const frame = index.frame(at);
    return frameCostBytes + (frame.codec === 'zeros' ? 0 : frame.lengthBytes);
  };
  let remaining = 0;
  for (let at = 0; at < index.frameCount; at++) remaining += cost(at);
  const slices: { from: number; to: number }[] = [];
  let from = 0;
  let taken = 0;
  for (let at = 0; at < index.frameCount; at++) {
    taken += cost(at);
    const slicesLeft = sliceCount - slices.length;
    if (slicesLeft > 1 && taken >= remaining / slicesLeft) {
      slices.push({ from, to: at + 1 });
      from = at + 1;
      remaining -= taken;
      taken = 0;
    }
  }
  if (from < index.frameCount) slices.push({ from, to: index.frameCount });
  return slices;
}
