import { Temporal } from 'temporal-polyfill';
import type { Logger } from 'pino';
import { UnderstudyError } from '../core/domain/errors.js';
import { coalesceLogs } from '../core/dataplane/blocks/coalesce.js';
import { openHrlReader } from '../core/dataplane/hrl/reader.js';
import { writeTransferLog } from '../core/dataplane/transfer-log/writer.js';
import { asDiskId, asVmId } from '../core/domain/ids.js';
import type { Assignment, CycleManifest, TransferLogRef } from '../core/domain/relay-protocol/wire.js';
import type { ClosedCycle, TrackingStatus } from '../core/ports/hypervisor-host.js';
import { allOrNone } from './all-or-none.js';
import type { BaseCheckpoint } from './base-checkpoint.js';
import { DiskMismatchError, LockNotWantedError, RelationshipMissingError } from './errors.js';
import type { ItemView } from './item-view.js';
import type { LaneStep } from './lane.js';
import type { ItemState } from './item-state.js';
import { planNextStep, type ItemFacts, type ItemStep } from './plan-next-step.js';
import type { RelayContext } from './relay-context.js';
import { rhythmNotes } from './rhythm.js';
import { uploadTransferLog } from './upload-transfer-log.js';

/** Codes of a change log that cannot be sent (docs/errors.md): damaged, another, or more than a cycle may hold. Only a resync helps. */
const unusableLogReasons: Readonly<Record<string, 'logCorrupt' | 'logTooLarge'>> = {
  US2001: 'logCorrupt',
  US2030: 'logCorrupt',
  US2031: 'logCorrupt',
  US2032: 'logCorrupt',
  US2033: 'logCorrupt',
  US2034: 'logCorrupt',
  US2044: 'logTooLarge',
  US2050: 'logTooLarge',
};

/** The app's code for a manifest whose logs do not lie in storage as announced (docs/errors.md). */
const logNotThere = 'US1113';

/** The steps of one item's cycles: closes logs, sends them in order, discards what the app has. */
export class ItemCycles {
  readonly #context: RelayContext;
  readonly #log: Logger;
  readonly #view: ItemView;
  readonly #checkpoint: BaseCheckpoint;
  readonly #onTracking: (tracking: TrackingStatus) => void;
  #unusableLog: ItemFacts['unusableLog'];
  #switchDueThrough = 0;
  /** The need for a resync that the app was told of. */
  #reportedResync: string | undefined;
  /** Logs of the cycle under way that lie in storage already: a further attempt sends only the rest. */
  readonly #uploaded = new Map<string, TransferLogRef | null>();

  constructor(
    context: RelayContext,
    log: Logger,
    view: ItemView,
    checkpoint: BaseCheckpoint,
    onTracking: (tracking: TrackingStatus) => void,
  ) {
    this.#context = context;
    this.#log = log;
    this.#view = view;
    this.#checkpoint = checkpoint;
    this.#onTracking = onTracking;
  }

  get isResyncReported(): boolean {
    return this.#reportedResync !== undefined;
  }

  /** The VM is off: what it wrote last goes out in one more cycle at once. Resolves with the last closed cycle. */
  async closeSoon(): Promise<number | undefined> {
    const { vmId, protectionId } = this.#view.assignment;
    const tracking = await this.#context.host.tracking(asVmId(vmId), protectionId);
    if (tracking.kind !== 'tracking') return undefined;
    this.#switchDueThrough = tracking.lastClosedCycle + 1;
    return tracking.lastClosedCycle;
  }

  /** Locks the VM and shuts it down; the next cycle then is the final one of this lock. A repeat keeps the cycle chosen first. */
  async prepareFinal(lockId: string): Promise<void> {
    const { assignment } = this.#view;
    const { vmId, vmName, protectionId } = assignment;
    const { host } = this.#context;
    if (assignment.sourceLock !== lockId) throw new LockNotWantedError(vmName);
    await host.lockSource(asVmId(vmId), { protectionId, lockId });
    const tracking = await host.tracking(asVmId(vmId), protectionId);
    if (tracking.kind === 'notReplicated') throw new RelationshipMissingError(vmName);
    // That it must be resynchronized is reported, and fails the job.
    if (tracking.kind === 'resyncRequired') return;
    const { final } = await this.#view.local();
    if (final?.lockId === lockId) return;
    await this.#view.note(assignment, { final: { lockId, cycle: tracking.lastClosedCycle + 1 } });
  }

  async plan(): Promise<LaneStep> {
    const facts = await this.#facts();
    const step = planNextStep(facts);
    if (step.kind !== 'requireResync') this.#reportedResync = undefined;
    switch (step.kind) {
      case 'rest':
        return step.until === undefined ? { kind: 'rest' } : { kind: 'rest', until: step.until };
      case 'requireResync':
        if (this.#reportedResync === resyncKey(facts, step.reason)) return { kind: 'rest' };
        return { kind: 'work', attempt: 'report resync', run: () => this.#requireResync(facts, step) };
      case 'startBase':
        return { kind: 'work', attempt: `start ${phaseWords(facts.assignment)}`, run: () => this.#start(facts) };
      case 'releaseCheckpoint':
        return { kind: 'work', attempt: 'release checkpoint', run: () => this.#release(facts, step.checkpointId) };
      case 'unlockSource':
        return { kind: 'work', attempt: 'lift the lock of the VM', run: () => this.#unlock(facts, step.lockId) };
      case 'discardCycles':
        return { kind: 'work', attempt: 'discard logs', run: () => this.#discard(facts, step.throughCycle) };
      case 'switchLogs':
        return { kind: 'work', attempt: `close cycle ${step.cycle}`, run: () => this.#switch(facts, step) };
      case 'sendCycle':
        return {
          kind: 'work',
          attempt: `send cycle ${step.cycle.cycle}`,
          run: (signal) => this.#send(facts, step.cycle, step.closesBase, signal),
        };
      case 'relationshipMissing':
        throw new RelationshipMissingError(facts.assignment.vmName);
    }
  }

  async #facts(): Promise<ItemFacts> {
    const { assignment } = this.#view;
    const now = await this.#context.clock.now();
    const local = await this.#noteRhythm(now);
    const { lost } = this.#checkpoint;
    const base = {
      assignment,
      local,
      now,
      ...(this.#unusableLog && { unusableLog: this.#unusableLog }),
      ...(lost && { lostBase: lost }),
    };
    if (assignment.phase === 'idle' || assignment.phase === 'failback')
      return { ...base, tracking: { kind: 'notReplicated' }, closedCycles: [] };
    const vmId = asVmId(assignment.vmId);
    if (assignment.phase === 'stopped') {
      // Only for a checkpoint that still stands; a site that was lost is no failure any more.
      const tracking = await this.#context.host.tracking(vmId, assignment.protectionId).catch(() => undefined);
      const isSiteSilent = tracking === undefined;
      return { ...base, tracking: tracking ?? { kind: 'notReplicated' }, closedCycles: [], isSiteSilent };
    }
    // A paused item sends nothing, but what becomes of its logs meanwhile is watched.
    const tracking = await this.#context.host.tracking(vmId, assignment.protectionId);
    this.#onTracking(tracking);
    const closedCycles =
      tracking.kind === 'tracking' ? await this.#context.host.closedCycles(vmId, assignment.protectionId) : [];
    return { ...base, tracking, closedCycles, switchDueThrough: this.#switchDueThrough };
  }

  /** On disk before anything is planned by it. */
  async #noteRhythm(now: Temporal.Instant): Promise<ItemState> {
    const { assignment } = this.#view;
    for (;;) {
      const local = await this.#view.local();
      const notes = rhythmNotes(assignment, local, now);
      if (notes === undefined) return local;
      await this.#view.note(assignment, notes);
    }
  }

  async #start({ assignment }: ItemFacts): Promise<void> {
    try {
      await this.#checkpoint.start();
      this.#log.info({ epoch: assignment.epoch }, `${phaseWords(assignment)} started`);
    } catch (error) {
      // Planned again, the lost checkpoint asks for a resync.
      if (!(await this.#checkpoint.noticeLoss(error))) throw error;
    }
    this.#context.reportSoon();
  }

  async #requireResync(facts: ItemFacts, step: Extract<ItemStep, { kind: 'requireResync' }>): Promise<void> {
    const { itemId, protectionId, epoch } = facts.assignment;
    const { reason, message, at } = step;
    await this.#context.client.reportResyncRequired(itemId, { protectionId, epoch, reason, message, at });
    this.#reportedResync = resyncKey(facts, reason);
    this.#log.warn({ epoch, reason }, `resync required: ${message}`);
    this.#context.reportSoon();
  }

  async #release({ assignment }: ItemFacts, checkpointId: string): Promise<void> {
    await this.#context.host.releaseCheckpoint(asVmId(assignment.vmId), checkpointId);
    this.#log.info({ checkpoint: checkpointId }, 'checkpoint released: nobody asks for its base any more');
  }

  async #unlock({ assignment: { vmId, vmName, protectionId } }: ItemFacts, lockId: string): Promise<void> {
    await this.#context.host.unlockSource(asVmId(vmId), { protectionId, lockId });
    this.#log.info({ lock: lockId }, `the lock of ${vmName} is lifted: no planned failover is under way`);
  }

  async #discard({ assignment }: ItemFacts, throughCycle: number): Promise<void> {
    const { vmId, protectionId } = assignment;
    await this.#context.host.discardCyclesThrough(asVmId(vmId), protectionId, throughCycle);
  }

  async #switch(facts: ItemFacts, step: Extract<ItemStep, { kind: 'switchLogs' }>): Promise<void> {
    const { assignment, local } = facts;
    const { cycle, consistency, missedCycleCount } = step;
    // The choice stands before the logs are closed: whatever dies, the same cycle closes the base, and what was missed counts.
    if (step.closesBase && local.closingCycle !== cycle) await this.#view.note(assignment, { closingCycle: cycle });
    if (missedCycleCount > 0) await this.#view.note(assignment, { lateCycle: { cycle, missedCycleCount } });
    const { protectionId } = assignment;
    const closed = await this.#context.host.switchLogs(asVmId(assignment.vmId), { protectionId, cycle, consistency });
    // The rhythm goes by this machine's clock alone: the host's may be another, and a cycle due at once would follow at once.
    const lastSwitchAt = facts.now.toString();
    await this.#view.note(assignment, {
      lastSwitchAt,
      pausedSeconds: undefined,
      ...(closed.consistency === 'applicationConsistent' && { lastApplicationConsistentAt: lastSwitchAt }),
    });
    if (missedCycleCount > 0)
      this.#log.warn({ cycle, missedCycleCount }, `cycle ${cycle} is late: ${missedCycleCount} missed`);
    if (closed.freezeFailure !== undefined) {
      this.#log.warn({ cycle }, `cycle ${cycle} is crash-consistent only: ${closed.freezeFailure}`);
    }
  }

  async #send(facts: ItemFacts, closed: ClosedCycle, closes: boolean, signal: AbortSignal): Promise<void> {
    const { assignment, local } = facts;
    const startedAt = performance.now();
    const pending = local.pendingManifest;
    const isPrepared = pending?.cycle === closed.cycle && pending.closesBase === closes;
    const manifest = isPrepared ? pending : await this.#prepareUsable(facts, closed, closes, signal);
    signal.throwIfAborted();
    // Planned again, the unusable log asks for a resync.
    if (manifest === undefined) return;
    try {
      const { receivedCycle } = await this.#context.client.announceCycle(assignment.itemId, manifest);
      this.#view.confirmCycle(Math.max(receivedCycle, closed.cycle));
    } catch (error) {
      await this.#refused(assignment, error);
      throw error;
    }
    this.#uploaded.clear();
    // A relay that died right after the switch has no note of it.
    const switchedAt = earlier(closed.takenAt, facts.now.toString());
    await this.#view.note(assignment, {
      pendingManifest: undefined,
      lateCycle: undefined,
      missedCycleCount: local.missedCycleCount + (manifest.missedCycleCount ?? 0),
      lastSwitchAt: later(local.lastSwitchAt, switchedAt),
    });
    const sentBytes = manifest.disks.reduce((sum, { log }) => sum + (log?.lengthBytes ?? 0), 0);
    const seconds = (performance.now() - startedAt) / 1000;
    this.#log.info(
      { epoch: assignment.epoch, cycle: closed.cycle, sentBytes, seconds },
      `cycle ${closed.cycle} sent: ${sentBytes} bytes in ${seconds.toFixed(1)} s${closes ? `; it completes ${phaseWords(assignment)}` : ''}`,
    );
  }

  /** The manifest, or undefined where a log turned out to be unusable. */
  async #prepareUsable(
    facts: ItemFacts,
    closed: ClosedCycle,
    closes: boolean,
    signal: AbortSignal,
  ): Promise<CycleManifest | undefined> {
    try {
      return await this.#prepare(facts, closed, closes, signal);
    } catch (error) {
      const unusable = this.#unusableLog;
      if (unusable?.cycle === closed.cycle && unusable.epoch === facts.assignment.epoch) return undefined;
      throw error;
    }
  }

  /** Uploads the cycle's logs and writes the manifest down, so that announcing it again is an identical repeat. */
  async #prepare(facts: ItemFacts, closed: ClosedCycle, closes: boolean, signal: AbortSignal): Promise<CycleManifest> {
    const { assignment } = facts;
    const { protectionId, epoch } = assignment;
    const disks = await this.#context.sendingGate.pass(
      () =>
        allOrNone(
          assignment.disks.map(({ diskId, sizeBytes }) => async (each: AbortSignal) => {
            const log = await this.#uploadOnce(facts, closed, { diskId, sizeBytes }, each);
            return { diskId, log };
          }),
          signal,
        ),
      { signal, key: assignment.itemId },
    );
    const { lateCycle } = facts.local;
    const manifest: CycleManifest = {
      protectionId,
      epoch,
      cycle: closed.cycle,
      takenAt: Temporal.Instant.from(closed.takenAt).toString(),
      consistency: closed.consistency,
      closesBase: closes,
      ...(facts.local.final?.cycle === closed.cycle && { finalOf: facts.local.final.lockId }),
      disks,
      ...(lateCycle?.cycle === closed.cycle && { missedCycleCount: lateCycle.missedCycleCount }),
      ...(closed.freezeFailure !== undefined && { freezeFailure: closed.freezeFailure.slice(0, 1000) }),
    };
    await this.#view.note(assignment, { pendingManifest: manifest });
    return manifest;
  }

  async #uploadOnce(
    { assignment, now }: ItemFacts,
    { cycle, logs }: ClosedCycle,
    disk: { diskId: string; sizeBytes: number },
    signal: AbortSignal,
  ): Promise<TransferLogRef | null> {
    const { epoch, vmName } = assignment;
    const key = `${epoch}/${cycle}/${disk.diskId}`;
    const done = this.#uploaded.get(key);
    if (done !== undefined) return done;
    const closedLog = logs.find(({ diskId }) => diskId === disk.diskId);
    if (closedLog === undefined) throw new DiskMismatchError(vmName, disk.diskId, `cycle ${cycle} has no log of it`);
    if (closedLog.entryCount === 0) return null;
    try {
      const ref = await this.#context.coalesceGate.pass(() => this.#upload(assignment, cycle, disk, signal), {
        signal,
        weight: closedLog.entryCount,
        key: assignment.itemId,
      });
      this.#uploaded.set(key, ref);
      return ref;
    } catch (error) {
      const reason = error instanceof UnderstudyError ? unusableLogReasons[error.code] : undefined;
      if (error instanceof UnderstudyError && reason !== undefined) {
        const message = `The change log of disk ${disk.diskId} of ${vmName} for cycle ${cycle} cannot be used: ${error.message} (${error.code})`;
        this.#unusableLog = { epoch, cycle, reason, message, at: now.toString() };
      }
      throw error;
    }
  }

  /** Coalesces one closed log into a transfer log while it travels. Null where it changes nothing. */
  async #upload(
    assignment: Assignment,
    cycle: number,
    disk: { diskId: string; sizeBytes: number },
    signal: AbortSignal,
  ): Promise<TransferLogRef | null> {
    const { vmId, protectionId, epoch } = assignment;
    const { diskId, sizeBytes } = disk;
    const file = await this.#context.host.openLog(asVmId(vmId), cycle, asDiskId(diskId));
    try {
      const writes = await coalesceLogs([await openHrlReader(file)], sizeBytes);
      if (writes.writeCount === 0) return null;
      const stream = writeTransferLog(
        {
          kind: 'delta',
          protectionId,
          diskId,
          epoch,
          cycle,
          diskSizeBytes: sizeBytes,
          fromBytes: 0,
          toBytes: sizeBytes,
        },
        writes.chunks(),
        { signal },
      );
      return await uploadTransferLog(this.#context, assignment, { kind: 'cycle', cycle, diskId }, stream, signal);
    } finally {
      await file.close();
    }
  }

  /** The app said no to the manifest: what it says it has decides what comes next. */
  async #refused(assignment: Assignment, error: unknown): Promise<void> {
    if (!(error instanceof UnderstudyError) || error.httpStatus !== 409) return;
    if (error.code === logNotThere) {
      // The logs must go up again under new names: announcing these once more would be refused for ever.
      this.#uploaded.clear();
      await this.#view.note(assignment, { pendingManifest: undefined });
    }
    const conflict = conflictOf(error);
    if (conflict?.kind === 'baseAlreadyClosed') {
      await this.#view.note(assignment, { closingCycle: conflict.byCycle, pendingManifest: undefined });
    }
    this.#view.forgetConfirmations();
    this.#context.refreshAssignments();
  }
}

const resyncKey = ({ assignment }: ItemFacts, reason: string) =>
  `${assignment.protectionId}/${assignment.epoch}/${reason}`;

const phaseWords = ({ phase }: Assignment): string =>
  phase === 'resynchronization' ? 'resynchronization' : 'initial replication';

const isLater = (a: string, b: string): boolean =>
  Temporal.Instant.compare(Temporal.Instant.from(a), Temporal.Instant.from(b)) > 0;
const later = (a: string | undefined, b: string): string => (a !== undefined && isLater(a, b) ? a : b);
const earlier = (a: string, b: string): string => (isLater(a, b) ? b : a);

/** The app's evidence (core/domain/replication/conflict.ts), as far as the relay acts on it. */
function conflictOf(error: UnderstudyError): { kind: 'baseAlreadyClosed'; byCycle: number } | undefined {
  const conflict = error.details.conflict;
  if (typeof conflict !== 'object' || conflict === null || !('kind' in conflict) || !('byCycle' in conflict))
    return undefined;
  if (conflict.kind !== 'baseAlreadyClosed' || typeof conflict.byCycle !== 'number') return undefined;
  return { kind: 'baseAlreadyClosed', byCycle: conflict.byCycle };
}
