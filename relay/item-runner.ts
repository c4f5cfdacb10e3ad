import type { Logger } from 'pino';
import { Temporal } from 'temporal-polyfill';
import type { Assignment, ItemReport } from '../core/domain/relay-protocol/wire.js';
import type { TrackingStatus } from '../core/ports/hypervisor-host.js';
import type { UnderstudyError } from '../core/domain/errors.js';
import { asVmId } from '../core/domain/ids.js';
import { classify } from '../core/domain/retry/classification.js';
import { SourceStillRunsError } from './errors.js';
import { BaseCheckpoint } from './base-checkpoint.js';
import { ItemBase } from './item-base.js';
import { ItemFailback } from './item-failback.js';
import { ItemCycles } from './item-cycles.js';
import { ItemView } from './item-view.js';
import { Lane, type LaneFailure } from './lane.js';
import { isBaseReceived, sendsBase } from './plan-base-step.js';
import { missedCycleCount } from './rhythm.js';
import type { RelayContext } from './relay-context.js';

/**
 * Drives one item after its assignment: one lane closes and sends cycles, another sends the disks' base meanwhile. Both plan
 * every step from the site's and the app's state, so that a kill at any point costs a repeated step at most.
 */
export class ItemRunner {
  readonly #context: RelayContext;
  readonly #log: Logger;
  readonly #view: ItemView;
  readonly #cycles: ItemCycles;
  readonly #base: ItemBase;
  readonly #failback: ItemFailback;
  readonly #cycleLane: Lane;
  readonly #baseLane: Lane;
  readonly #failbackLane: Lane;
  #tracking: TrackingStatus = { kind: 'notReplicated' };
  #observedAt: Temporal.Instant | undefined;
  #sourceRuns: { error: SourceStillRunsError; at: string } | undefined;

  constructor(context: RelayContext, assignment: Assignment) {
    this.#context = context;
    const { itemId, vmName, protectionId } = assignment;
    this.#log = context.log.child({ item: itemId, vm: vmName, protection: protectionId });
    this.#view = new ItemView(context.states, assignment);
    const checkpoint = new BaseCheckpoint(context, this.#view);
    this.#cycles = new ItemCycles(context, this.#log, this.#view, checkpoint, (tracking) => {
      this.#noteTracking(tracking);
    });
    this.#base = new ItemBase(context, this.#log, this.#view, checkpoint, {
      tracking: () => this.#tracking,
      onSent: () => {
        this.#onSegmentSent();
      },
      onLost: () => {
        this.#cycleLane.wake();
      },
    });
    this.#failback = new ItemFailback(context, this.#log, this.#view, () => {
      this.#onFetched();
    });
    const events = {
      onFailure: (failure: LaneFailure) => {
        this.#onFailure(failure);
      },
      onRecovered: () => {
        this.#log.info('replication goes on');
        context.reportSoon();
      },
    };
    this.#log.info({ epoch: assignment.epoch }, describeOrder(assignment));
    this.#cycleLane = new Lane(context.clock, () => this.#cycles.plan(), events);
    this.#baseLane = new Lane(context.clock, () => this.#base.plan(), events);
    this.#failbackLane = new Lane(context.clock, () => this.#failback.plan(), events);
  }

  get protectionId(): string {
    return this.#view.assignment.protectionId;
  }
  get #lanes(): Lane[] {
    return [this.#cycleLane, this.#baseLane, this.#failbackLane];
  }
  get vmId(): string {
    return this.#view.assignment.vmId;
  }

  /** The app wants something else, or has confirmed more. */
  update(assignment: Assignment): void {
    const before = this.#view.assignment;
    const isNews = this.#view.update(assignment);
    const lanes = this.#lanes;
    // Each answer of the app names all its items: planning every one for the news of another would grow with their square.
    if (!isNews && !lanes.some(wasRefused)) return;
    const isOtherOrder =
      before.epoch !== assignment.epoch ||
      before.phase !== assignment.phase ||
      before.paused !== assignment.paused ||
      before.resyncRequired !== assignment.resyncRequired ||
      before.sourceLock !== assignment.sourceLock ||
      JSON.stringify(before.failback) !== JSON.stringify(assignment.failback) ||
      before.resumedCount < assignment.resumedCount;
    // Only an order that stops, or starts another epoch, makes the step under way worthless.
    const isWorthless = before.epoch !== assignment.epoch || assignment.paused || assignment.phase === 'stopped';
    for (const lane of lanes) {
      if (isOtherOrder && isWorthless) lane.interrupt('the assignment changed');
      // What the app refused because its view was another may be right now.
      else if (isOtherOrder || wasRefused(lane)) lane.retryNow();
      else lane.wake();
    }
    if (!isOtherOrder) return;
    this.#log.info({ epoch: assignment.epoch }, describeOrder(assignment));
    if (!sendsBase(assignment.phase) && assignment.phase !== 'failback') this.#context.progress.drop(assignment.itemId);
    this.#context.reportSoon();
  }

  /**
   * Contact with the app or the site is back: whatever was being tried may succeed, also what was no use to try while the
   * app did not trust this relay, for example because of a wrong clock. What else an operator must mend waits on.
   */
  retryNow(): void {
    for (const lane of this.#lanes) {
      if (lane.failure === undefined) continue;
      const isTrustRestored = classify(lane.failure.error).cause === 'authentication';
      if (lane.failure.nextAttemptAt !== undefined || isTrustRestored) lane.retryNow();
    }
  }

  /** After the VM was shut down by the app's order; resolves with the last cycle that is closed already. */
  async closeSoon(): Promise<number | undefined> {
    const lastClosedCycle = await this.#cycles.closeSoon();
    this.#cycleLane.retryNow();
    return lastClosedCycle;
  }

  /** By the app's order: the VM is locked and off, and what it wrote last goes out at once. */
  async prepareFinal(lockId: string): Promise<void> {
    await this.#cycles.prepareFinal(lockId);
    this.#cycleLane.retryNow();
  }

  /** Waits to try again what failed with this code. */
  waitsFor(code: string): boolean {
    return [this.#cycleLane, this.#baseLane].some((lane) => lane.failure?.error.code === code);
  }

  /** Looks at the host for the report. `at` is business time. */
  async observe(isVmRunning: boolean, at: string): Promise<void> {
    const { phase, stopReason, vmName, vmId, protectionId } = this.#view.assignment;
    if (phase === 'stopped' && isVmRunning && stopReason === 'failedOver') {
      if (this.#sourceRuns === undefined) {
        this.#sourceRuns = { error: new SourceStillRunsError(vmName), at };
        this.#log.warn({ code: this.#sourceRuns.error.code }, this.#sourceRuns.error.message);
      }
    } else this.#sourceRuns = undefined;
    this.#observedAt = Temporal.Instant.from(at);
    const before = this.#tracking.kind;
    this.#noteTracking(await this.#context.host.tracking(asVmId(vmId), protectionId));
    if (this.#tracking.kind !== before) this.#cycleLane.wake();
  }

  report(): ItemReport {
    const { itemId, protectionId, epoch, disks, phase } = this.#view.assignment;
    const lastError = this.#lastError();
    const sum = (of: (disk: Assignment['disks'][number]) => number) =>
      disks.reduce((total, disk) => total + of(disk), 0);
    const doneBytes = sum((disk) => Math.min(disk.receivedThroughBytes, disk.sizeBytes));
    const totalBytes = sum((disk) => disk.sizeBytes);
    return {
      itemId,
      protectionId,
      epoch,
      activity: this.#activity(),
      backlogBytes:
        this.#tracking.kind === 'tracking' ? this.#tracking.openLogBytes + this.#tracking.closedLogBytes : 0,
      ...(phase === 'initialReplication' && { initialReplication: { sentBytes: doneBytes, totalBytes } }),
      ...(phase === 'resynchronization' && {
        resynchronization: { comparedBytes: doneBytes, totalBytes, sentBytes: this.#differingBytes() },
      }),
      ...(phase === 'failback' && {
        resynchronization: {
          comparedBytes: this.#failback.progress().comparedBytes,
          totalBytes,
          sentBytes: this.#failback.progress().fetchedBytes,
        },
      }),
      missedCycleCount: this.#missedCycleCount(),
      ...(lastError && { lastError }),
    };
  }

  /** For `relay status`: the cycles missed in all. */
  describe(): { vmName: string; missedCycleCount: number } {
    const missedCycleCount = (this.#view.known?.missedCycleCount ?? 0) + this.#missedCycleCount();
    return { vmName: this.#view.assignment.vmName, missedCycleCount };
  }

  async stop(): Promise<void> {
    await Promise.all(this.#lanes.map((lane) => lane.stop()));
    await this.#base.close();
    this.#context.progress.drop(this.#view.assignment.itemId);
  }

  #differingBytes(): number {
    const { known, assignment } = this.#view;
    return known?.epoch === assignment.epoch ? (known.resynchronization?.differingBytes ?? 0) : 0;
  }

  /** Since the last cycle was announced: before one that is closed, and since then. */
  #missedCycleCount(): number {
    const { known, assignment } = this.#view;
    if (
      known === undefined ||
      this.#observedAt === undefined ||
      assignment.phase === 'stopped' ||
      assignment.phase === 'failback'
    )
      return 0;
    return (known.lateCycle?.missedCycleCount ?? 0) + missedCycleCount(assignment, known, this.#observedAt);
  }

  #activity(): ItemReport['activity'] {
    const { assignment } = this.#view;
    if (assignment.phase === 'stopped') return 'stopped';
    if (assignment.paused) return 'paused';
    if (this.#cycles.isResyncReported || assignment.resyncRequired) return 'resyncRequired';
    if (this.#lanes.some(({ failure }) => failure !== undefined)) return 'waitingToRetry';
    if (assignment.phase === 'failback') return 'failback';
    if (sendsBase(assignment.phase) && !isBaseReceived(assignment)) return assignment.phase;
    return this.#cycleLane.attempt?.startsWith('send') === true ? 'sending' : 'idle';
  }

  #lastError(): ItemReport['lastError'] {
    const failures = this.#lanes.map(({ failure }) => failure).filter((failure) => failure !== undefined);
    // What waits for an operator must not hide behind what passes by itself.
    const failure = failures.find(({ nextAttemptAt }) => nextAttemptAt === undefined) ?? failures[0];
    if (failure === undefined) return this.#sourceRuns && errorFields(this.#sourceRuns.error, this.#sourceRuns.at);
    const { error, at, nextAttemptAt } = failure;
    return {
      ...errorFields(error, at.toString()),
      ...(nextAttemptAt === undefined ? { blocking: true } : { nextAttemptAt: nextAttemptAt.toString() }),
    };
  }

  #noteTracking(tracking: TrackingStatus): void {
    this.#tracking = tracking;
    // The base waits for tracking to have started; planning it costs nothing.
    if (sendsBase(this.#view.assignment.phase)) this.#baseLane.wake();
  }

  #onSegmentSent(): void {
    const { initialReplication, resynchronization } = this.report();
    const { assignment } = this.#view;
    const { itemId, vmName } = assignment;
    if (initialReplication) {
      const { sentBytes, totalBytes } = initialReplication;
      this.#context.progress.show({ itemId, vmName, what: 'initial replication' }, sentBytes, totalBytes);
    }
    if (resynchronization) {
      const { comparedBytes, totalBytes } = resynchronization;
      this.#context.progress.show({ itemId, vmName, what: 'resynchronization' }, comparedBytes, totalBytes);
    }
    if (!isBaseReceived(assignment)) return;
    if (resynchronization) {
      this.#log.info({ epoch: assignment.epoch, ...this.#view.known?.resynchronization }, 'all disks are compared');
    }
    // With the last piece received, the cycle that completes the base is due at once.
    this.#cycleLane.wake();
  }

  #onFetched(): void {
    const { resynchronization } = this.report();
    const { itemId, vmName } = this.#view.assignment;
    if (resynchronization === undefined) return;
    const { comparedBytes, totalBytes } = resynchronization;
    this.#context.progress.show({ itemId, vmName, what: 'failback' }, comparedBytes, totalBytes);
  }

  #onFailure({ error, failedAttempts, nextAttemptAt }: LaneFailure): void {
    const fields = { code: error.code, failedAttempts, err: error };
    if (nextAttemptAt === undefined) {
      const next = 'Not tried again before replication is resumed.';
      this.#log.error(fields, `${error.message} ${error.recommendedAction} ${next}`);
    } else {
      const at = nextAttemptAt.toString();
      this.#log.warn({ ...fields, nextAttemptAt: at }, `${error.message} Tried again at ${at}.`);
    }
    this.#context.reportSoon();
  }
}

/** Refusals in a row that are followed at once when an assignment comes; then the retry schedule paces them. */
const refusalsFollowedAtOnceMax = 3;

/** The app's view was another than the relay's when it said no: its next answer may be all that was missing. */
const wasRefused = ({ failure }: Lane): boolean =>
  failure?.error.httpStatus === 409 &&
  failure.nextAttemptAt !== undefined &&
  failure.failedAttempts <= refusalsFollowedAtOnceMax;

const errorFields = ({ code, message, recommendedAction }: UnderstudyError, at: string) => ({
  code,
  message,
  recommendedAction,
  at,
});

function describeOrder({ phase, paused, stopReason, epoch, receivedCycle }: Assignment): string {
  if (phase === 'stopped') return `replication is stopped by the app: ${stopReason ?? 'no reason given'}`;
  if (paused) return 'replication is paused';
  return `assigned ${phase}, epoch ${epoch}, cycles received through ${receivedCycle}`;
}
