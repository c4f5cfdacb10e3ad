import type { Logger } from 'pino';
import type { Assignment, ItemReport } from '../core/domain/relay-protocol/wire.js';
import type { TrackingStatus } from '../core/ports/hypervisor-host.js';
import { asVmId } from '../core/domain/ids.js';
import { SourceStillRunsError } from './errors.js';
import { ItemBase } from './item-base.js';
import { ItemCycles } from './item-cycles.js';
import { ItemView } from './item-view.js';
import { Lane, type LaneFailure } from './lane.js';
import { isBaseReceived } from './plan-next-step.js';
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
  readonly #cycleLane: Lane;
  readonly #baseLane: Lane;
  #tracking: TrackingStatus = { kind: 'notReplicated' };
  #sourceRuns: { error: SourceStillRunsError; at: string } | undefined;

  constructor(context: RelayContext, assignment: Assignment) {
    this.#context = context;
    const { itemId, vmName, protectionId } = assignment;
    this.#log = context.log.child({ item: itemId, vm: vmName, protection: protectionId });
    this.#view = new ItemView(context.states, assignment);
    this.#cycles = new ItemCycles(context, this.#log, this.#view, (tracking) => {
      this.#noteTracking(tracking);
    });
    this.#base = new ItemBase(context, this.#log, this.#view, {
      tracking: () => this.#tracking,
      onSent: () => {
        this.#onSegmentSent();
      },
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
  }

  get protectionId(): string {
    return this.#view.assignment.protectionId;
  }
  get vmId(): string {
    return this.#view.assignment.vmId;
  }

  /** The app wants something else, or has confirmed more. */
  update(assignment: Assignment): void {
    const before = this.#view.assignment;
    const isNews = this.#view.update(assignment);
    const lanes = [this.#cycleLane, this.#baseLane];
    // Each answer of the app names all its items: planning every one for the news of another would grow with their square.
    if (!isNews && !lanes.some(wasRefused)) return;
    const isOtherOrder =
      before.epoch !== assignment.epoch || before.phase !== assignment.phase || before.paused !== assignment.paused;
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
    if (assignment.phase !== 'initialReplication') this.#context.progress.drop(assignment.itemId);
    this.#context.reportSoon();
  }

  /**
   * Contact with the app or the site is back: whatever failed may be over, also what was no use to try again while the app did not trust
   * this relay, for example because of a wrong clock.
   */
  retryNow(): void {
    for (const lane of [this.#cycleLane, this.#baseLane]) if (lane.failure) lane.retryNow();
  }

  /** After the VM was shut down by the app's order; resolves with the last cycle that is closed already. */
  async closeSoon(): Promise<number | undefined> {
    const lastClosedCycle = await this.#cycles.closeSoon();
    this.#cycleLane.retryNow();
    return lastClosedCycle;
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
    const before = this.#tracking.kind;
    this.#noteTracking(await this.#context.host.tracking(asVmId(vmId), protectionId));
    if (this.#tracking.kind !== before) this.#cycleLane.wake();
  }

  report(): ItemReport {
    const { itemId, protectionId, epoch, disks, phase } = this.#view.assignment;
    const lastError = this.#lastError();
    const sum = (of: (disk: Assignment['disks'][number]) => number) =>
      disks.reduce((total, disk) => total + of(disk), 0);
    return {
      itemId,
      protectionId,
      epoch,
      activity: this.#activity(),
      backlogBytes:
        this.#tracking.kind === 'tracking' ? this.#tracking.openLogBytes + this.#tracking.closedLogBytes : 0,
      ...(phase === 'initialReplication' && {
        initialReplication: {
          sentBytes: sum((disk) => Math.min(disk.receivedThroughBytes, disk.sizeBytes)),
          totalBytes: sum((disk) => disk.sizeBytes),
        },
      }),
      ...(lastError && { lastError }),
    };
  }

  /** For `relay status`. */
  describe(): { vmName: string; missedCycleCount: number } {
    return { vmName: this.#view.assignment.vmName, missedCycleCount: this.#view.missedCycleCount };
  }

  async stop(): Promise<void> {
    await Promise.all([this.#cycleLane.stop(), this.#baseLane.stop()]);
    await this.#base.close();
    this.#context.progress.drop(this.#view.assignment.itemId);
  }

  #activity(): ItemReport['activity'] {
    const { assignment } = this.#view;
    if (assignment.phase === 'stopped') return 'stopped';
    if (assignment.paused) return 'paused';
    if (this.#cycles.isResyncReported) return 'resyncRequired';
    if (this.#cycleLane.failure ?? this.#baseLane.failure) return 'waitingToRetry';
    if (assignment.phase === 'initialReplication' && !isBaseReceived(assignment)) return 'initialReplication';
    return this.#cycleLane.attempt?.startsWith('send') === true ? 'sending' : 'idle';
  }

  #lastError(): ItemReport['lastError'] {
    const failure = this.#baseLane.failure ?? this.#cycleLane.failure;
    const shown = failure ? { error: failure.error, at: failure.at.toString() } : this.#sourceRuns;
    if (shown === undefined) return undefined;
    const { code, message, recommendedAction } = shown.error;
    const nextAttemptAt = failure?.nextAttemptAt?.toString();
    return { code, message, recommendedAction, at: shown.at, ...(nextAttemptAt !== undefined && { nextAttemptAt }) };
  }

  #noteTracking(tracking: TrackingStatus): void {
    this.#tracking = tracking;
    // The base waits for tracking to have started; planning it costs nothing.
    if (this.#view.assignment.phase === 'initialReplication') this.#baseLane.wake();
  }

  #onSegmentSent(): void {
    const { initialReplication } = this.report();
    const { assignment } = this.#view;
    if (initialReplication) {
      this.#context.progress.show(assignment, initialReplication.sentBytes, initialReplication.totalBytes);
    }
    // With the last piece received, the cycle that completes initial replication is due at once.
    if (isBaseReceived(assignment)) this.#cycleLane.wake();
  }

  #onFailure({ error, failedAttempts, nextAttemptAt }: LaneFailure): void {
    const isForOperator = error.retry === 'never';
    const next = `Tried again at ${nextAttemptAt.toString()}.`;
    const fields = { code: error.code, failedAttempts, nextAttemptAt: nextAttemptAt.toString(), err: error };
    this.#log[isForOperator ? 'error' : 'warn'](
      fields,
      `${error.message} ${isForOperator ? `${error.recommendedAction} ` : ''}${next}`,
    );
    this.#context.reportSoon();
  }
}

/** The app's view was another than the relay's when it said no: its next answer may be all that was missing. */
const wasRefused = (lane: Lane): boolean => lane.failure?.error.httpStatus === 409;

function describeOrder({ phase, paused, stopReason, epoch, receivedCycle }: Assignment): string {
  if (phase === 'stopped') return `replication is stopped by the app: ${stopReason ?? 'no reason given'}`;
  if (paused) return 'replication is paused';
  return `assigned ${phase}, epoch ${epoch}, cycles received through ${receivedCycle}`;
}
