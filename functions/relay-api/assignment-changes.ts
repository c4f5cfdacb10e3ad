import { asRelayId, asVaultId } from '../../core/domain/ids.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import type { RowOperation, StateTable } from '../../core/ports/state-table.js';
import { rows } from '../../core/records/rows.js';

const itemPrefix = rows.items(asVaultId('')).prefix;
const policyPrefix = rows.policies(asVaultId('')).prefix;
const commandPrefix = rows.commands(asRelayId('')).prefix;

/**
 * Hears of every write that this process makes, and says when one may have changed what a relay is to do: so that a waiting
 * relay need not be answered by reading all its items again and again. It says nothing of writes of other processes: the
 * rows are the truth, and whoever waits here looks at them now and then.
 */
export class AssignmentChanges {
  /** By row key; the item ids in them are unique over all vaults. */
  readonly #digests = new Map<string, string>();
  /** By partition: how many changes there were. */
  readonly #counts = new Map<string, number>();
  readonly #waiting = new Set<() => void>();

  /** `digestOf` changes with everything in an item's row that a relay must hear of. */
  constructor(private readonly digestOf: (item: ProtectedItem) => string) {}

  /** The same table; changes through it are heard of once they are committed. */
  observed(table: StateTable): StateTable {
    return {
      get: (partition, rowKey) => table.get(partition, rowKey),
      getMany: (partition, rowKeys) => table.getMany(partition, rowKeys),
      query: (partition, range) => table.query(partition, range),
      transact: async (partition, operations) => {
        const etags = await table.transact(partition, operations);
        // Every operation, not up to the first that counts: each one's digest is to be kept.
        if (operations.filter((operation) => this.#concernsRelays(operation)).length > 0) this.#changed(partition);
        return etags;
      },
    };
  }

  /** How many changes there were in the partitions: what `changedSince` compares with. */
  mark(partitions: readonly string[]): number {
    return partitions.reduce((sum, partition) => sum + (this.#counts.get(partition) ?? 0), 0);
  }

  /** Resolves when there is a change after `mark`, at the latest after `timeoutMilliseconds`. */
  async changedSince(mark: number, partitions: readonly string[], timeoutMilliseconds: number): Promise<void> {
    if (this.mark(partitions) !== mark) return;
    await new Promise<void>((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#waiting.delete(look);
        resolve();
      };
      const look = () => {
        if (this.mark(partitions) !== mark) end();
      };
      const timer = setTimeout(end, timeoutMilliseconds);
      this.#waiting.add(look);
    });
  }

  #concernsRelays(operation: RowOperation): boolean {
    const { rowKey } = operation;
    if (rowKey.startsWith(policyPrefix) || rowKey.startsWith(commandPrefix)) return true;
    if (!rowKey.startsWith(itemPrefix)) return false;
    if (operation.kind === 'delete') {
      this.#digests.delete(rowKey);
      return true;
    }
    // Rows of this prefix hold items, and only they do (core/records/rows.ts).
    const digest = this.digestOf(operation.value as ProtectedItem);
    const isNews = this.#digests.get(rowKey) !== digest;
    this.#digests.set(rowKey, digest);
    return isNews;
  }

  #changed(partition: string): void {
    this.#counts.set(partition, (this.#counts.get(partition) ?? 0) + 1);
    for (const look of [...this.#waiting]) look();
  }
}
