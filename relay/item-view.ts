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
  #loading: Promise<void> | undefined;
  #receivedCycle = 0;
  #lastNote: Promise<void> = Promise.resolve();
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

  confirmSegment(
    under: Pick<Assignment, 'epoch'>,
    diskId: string,
    confirmed: { receivedThroughBytes: number; appliedThroughBytes: number },
  ): void {
    // An answer that comes after another epoch began speaks of another base.
    if (under.epoch === this.#assignment.epoch) this.#disks.set(diskId, confirmed);
  }

  /** The durable notes as far as they were read already, for reports. */
  get known(): ItemState | undefined {
    return this.#local;
  }

  /** The durable notes under the present assignment. */
  async local(): Promise<ItemState> {
    await (this.#loading ??= this.#load());
    this.#local = stateForAssignment(this.#local, this.#assignment);
    return this.#local;
  }

  /**
   * Durable when it resolves. A property that is undefined in `change` is taken away. Both of an item's lanes write notes:
   * one after the other, so that neither loses the other's. What was found under another epoch is refused: it would be
   * taken for this one's.
   */
  note(under: Pick<Assignment, 'epoch'>, change: { [Name in keyof ItemState]?: ItemState[Name] | undefined }) {
    const noted = this.#lastNote.then(async () => {
      const local = await this.local();
      if (local.epoch !== under.epoch) throw new Error(`epoch ${under.epoch} is over`);
      const merged: Record<string, unknown> = { ...local, ...change };
      for (const [name, value] of Object.entries(merged)) if (value === undefined) delete merged[name];
      const next = merged as ItemState;
      await this.#states.save(next);
      this.#local = next;
    });
    this.#lastNote = noted.catch(() => undefined);
    return noted;
  }

  async #load(): Promise<void> {
    try {
      this.#local = await this.#states.load(this.#assignment.itemId);
    } catch (error) {
      this.#loading = undefined;
      throw error;
    }
  }
}
