import type { Assignment } from '../core/domain/relay-protocol/wire.js';
import { stateForAssignment, type ItemState, type ItemStateStore } from './item-state.js';

/**
 * One item as the relay knows it: the app's assignment with what the app has confirmed since that answer was written, and
 * the relay's own durable notes.
 */
export class ItemView {
  readonly #states: ItemStateStore;
  #assignment: Assignment;
  #local: ItemState | undefined;
  #isLoaded = false;
  #receivedCycle = 0;
  #disks = new Map<string, { receivedThroughBytes: number; appliedThroughBytes: number }>();

  constructor(states: ItemStateStore, assignment: Assignment) {
    this.#states = states;
    this.#assignment = assignment;
  }

  /**
   * Takes the app's answer; false when it says what is known already. One that was written before the last confirmation
   * never takes that back.
   */
  update(assignment: Assignment): boolean {
    const before = JSON.stringify(this.assignment);
    const { protectionId, epoch } = this.#assignment;
    if (assignment.protectionId !== protectionId || assignment.epoch !== epoch) this.forgetConfirmations();
    this.#assignment = assignment;
    return JSON.stringify(this.assignment) !== before;
  }

  /** The app refused what followed from its confirmations: its next answer counts, whatever was said before. */
  forgetConfirmations(): void {
    this.#receivedCycle = 0;
    this.#disks.clear();
  }

  get assignment(): Assignment {
    return {
      ...this.#assignment,
      receivedCycle: Math.max(this.#assignment.receivedCycle, this.#receivedCycle),
      disks: this.#assignment.disks.map((disk) => {
        const confirmed = this.#disks.get(disk.diskId);
        if (confirmed === undefined) return disk;
        return {
          ...disk,
          receivedThroughBytes: Math.max(disk.receivedThroughBytes, confirmed.receivedThroughBytes),
          appliedThroughBytes: Math.max(disk.appliedThroughBytes, confirmed.appliedThroughBytes),
        };
      }),
    };
  }

  confirmCycle(receivedCycle: number): void {
    this.#receivedCycle = Math.max(this.#receivedCycle, receivedCycle);
  }

  confirmSegment(diskId: string, confirmed: { receivedThroughBytes: number; appliedThroughBytes: number }): void {
    this.#disks.set(diskId, confirmed);
  }

  get missedCycleCount(): number {
    return this.#local?.missedCycleCount ?? 0;
  }

  /** The durable notes under the present assignment. */
  async local(): Promise<ItemState> {
    if (!this.#isLoaded) {
      this.#local = await this.#states.load(this.#assignment.itemId);
      this.#isLoaded = true;
    }
    this.#local = stateForAssignment(this.#local, this.#assignment);
    return this.#local;
  }

  /** Durable when it resolves. A property that is undefined in `change` is taken away. */
  async note(change: { [Name in keyof ItemState]?: ItemState[Name] | undefined }): Promise<void> {
    const merged: Record<string, unknown> = { ...(await this.local()), ...change };
    for (const [name, value] of Object.entries(merged)) if (value === undefined) delete merged[name];
    const next = merged as ItemState;
    await this.#states.save(next);
    this.#local = next;
  }
}
