import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { AzureNamedKeyCredential, odata, TableClient, type TableServiceClientOptions } from '@azure/data-tables';
import {
  getManyRowsMax,
  queryRowsMax,
  RowTooLargeError,
  StateConflictError,
  transactionOperationsMax,
  transactionTextMaxBytes,
  type RowOperation,
  type RowRange,
  type StateRow,
  type StateTable,
} from '../../core/ports/state-table.js';
import type { IdentityCredential } from './blob-accounts.js';
import { connectionPolicy } from './connections.js';
import { isTransient, serviceAnswer, storageFailure } from './storage-errors.js';
import { decodeRow } from './table-rows.js';
import { prepareTransaction, sendTransaction } from './table-transaction.js';

/** Where the app keeps its state; a table's name is letters and digits. */
const stateTableName = 'UnderstudyState';

export type StateTableOptions = {
  /** Default: the table of the app's state. */
  tableName?: string;
} & (
  | { connectionString: string }
  | { endpoint: string; credential: IdentityCredential | { accountName: string; accountKey: string } }
);

/** Opens the table; it is created at its first use. Holds no resources that need closing. */
export function openTableStateTable(options: StateTableOptions): StateTable {
  return new TableStateTable(clientFor(options));
}

function clientFor(options: StateTableOptions): TableClient {
  const clientOptions: TableServiceClientOptions & { allowInsecureConnection: boolean } = {
    // We repeat calls ourselves: after a lost answer it must be told whether the write had its effect.
    retryOptions: { maxRetries: 0 },
    allowInsecureConnection: true,
    additionalPolicies: [{ policy: connectionPolicy, position: 'perCall' }],
  };
  const tableName = options.tableName ?? stateTableName;
  if ('connectionString' in options) {
    return TableClient.fromConnectionString(options.connectionString, tableName, clientOptions);
  }
  const { credential } = options;
  return 'accountKey' in credential
    ? new TableClient(
        options.endpoint,
        tableName,
        new AzureNamedKeyCredential(credential.accountName, credential.accountKey),
        clientOptions,
      )
    : new TableClient(options.endpoint, tableName, credential, clientOptions);
}

const attemptsMax = 5;
const firstWaitMs = 50;

class TableStateTable implements StateTable {
  private created: Promise<void> | undefined;

  constructor(private readonly client: TableClient) {}

  async get(partition: string, rowKey: string): Promise<StateRow | undefined> {
    const row = await this.read(partition, rowKey);
    return row && { rowKey: row.rowKey, etag: row.etag, value: row.value };
  }

  async getMany(partition: string, rowKeys: readonly string[]): Promise<StateRow[]> {
    assert(rowKeys.length >= 1 && rowKeys.length <= getManyRowsMax, `${rowKeys.length} rows at once`);
    const keys = rowKeys.map((rowKey) => odata`RowKey eq ${rowKey}`).join(' or ');
    const filter = `${odata`PartitionKey eq ${partition}`} and (${keys})`;
    return this.repeat(`reading ${rowKeys.join(', ')} in partition`, partition, async () => {
      const page = await this.client.listEntities({ queryOptions: { filter } }).byPage().next();
      if (page.done === true) return [];
      return page.value.map((entity) => {
        const { rowKey, etag, value } = decodeRow(partition, entity);
        return { rowKey, etag, value };
      });
    });
  }

  async query(partition: string, range: RowRange): Promise<{ rows: StateRow[]; next: string | undefined }> {
    const limit = range.limit ?? queryRowsMax;
    assert(limit >= 1 && limit <= queryRowsMax, `a page of ${limit} rows`);
    const filter =
      range.prefix === ''
        ? odata`PartitionKey eq ${partition}`
        : odata`PartitionKey eq ${partition} and RowKey ge ${range.prefix} and RowKey lt ${after(range.prefix)}`;
    return this.repeat(`listing ${range.prefix}* in partition`, partition, async () => {
      const pages = this.client
        .listEntities({ queryOptions: { filter } })
        .byPage({ maxPageSize: limit, ...(range.next !== undefined && { continuationToken: range.next }) });
      const page = await pages.next();
      if (page.done === true) return { rows: [], next: undefined };
      const rows = page.value.map((entity) => {
        const { rowKey, etag, value } = decodeRow(partition, entity);
        return { rowKey, etag, value };
      });
      return { rows, next: page.value.continuationToken };
    });
  }

  async transact(partition: string, operations: readonly RowOperation[]): Promise<(string | undefined)[]> {
    assert(
      operations.length >= 1 && operations.length <= transactionOperationsMax,
      `a transaction of ${operations.length} operations`,
    );
    assert.equal(new Set(operations.map((operation) => operation.rowKey)).size, operations.length, 'rows repeat');
    checkTotal(partition, operations);
    const writer = randomUUID();
    /** Operations still to send, by index: a delete without a condition drops out once its row is known to be absent. */
    let live = operations.map((_, index) => index);
    let answerLost = false;
    const etags: (string | undefined)[] = operations.map(() => undefined);

    for (let attempt = 1; live.length > 0;) {
      const sent = live.flatMap((index) => operations[index] ?? []);
      const requests = prepareTransaction(this.client, partition, sent, writer);
      try {
        const outcome = await sendTransaction(this.client, requests);
        if (outcome.kind === 'written') {
          outcome.etags.forEach((etag, position) => (etags[live[position] ?? -1] = etag));
          return etags;
        }
        const { statusCode, code, message } = outcome;
        if (code === 'TableNotFound') {
          await this.createTable();
          continue;
        }
        if (statusCode !== 404 && statusCode !== 409 && statusCode !== 412) {
          throw Object.assign(new Error(message), { statusCode, code });
        }
        const refused = sent[outcome.index ?? (sent.length === 1 ? 0 : -1)];
        if (answerLost) {
          const written = await this.writtenBy(writer, partition, operations);
          if (written !== undefined) return written;
        }
        if (statusCode === 404 && refused?.kind === 'delete' && refused.etag === undefined) {
          live = live.filter((index) => operations[index] !== refused);
          continue;
        }
        const conditional = sent.filter((operation) => operation.kind === 'insert' || 'etag' in operation);
        throw new StateConflictError(
          partition,
          (refused ? [refused] : conditional).map((operation) => operation.rowKey),
        );
      } catch (error) {
        if (error instanceof StateConflictError || error instanceof RowTooLargeError) throw error;
        if (!isTransient(error) || attempt >= attemptsMax) {
          throw storageFailure(`writing ${sent.map((operation) => operation.rowKey).join(', ')} in`, partition, error);
        }
        answerLost = true;
        await sleep(waitMs(attempt++));
      }
    }
    return etags;
  }

  /**
   * Whether an earlier attempt, whose answer was lost, had its effect: its rows carry the transaction's own mark, and a
   * row that it deleted is gone. Another writer may have replaced them since; then the caller hears of a conflict and
   * reads again, which is right in either case.
   */
  private async writtenBy(
    writer: string,
    partition: string,
    operations: readonly RowOperation[],
  ): Promise<(string | undefined)[] | undefined> {
    const etags: (string | undefined)[] = [];
    for (const operation of operations) {
      const row = await this.read(partition, operation.rowKey);
      if (operation.kind === 'delete' ? row !== undefined : row?.writer !== writer) return undefined;
      etags.push(row?.etag);
    }
    return etags;
  }

  private async read(partition: string, rowKey: string): Promise<ReturnType<typeof decodeRow> | undefined> {
    return this.repeat(`reading ${rowKey} in partition`, partition, async () => {
      try {
        return decodeRow(partition, await this.client.getEntity(partition, rowKey));
      } catch (error) {
        if (serviceAnswer(error).statusCode === 404) return undefined;
        throw error;
      }
    });
  }

  private async repeat<T>(tried: string, target: string, call: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ;) {
      try {
        return await call();
      } catch (error) {
        if (serviceAnswer(error).statusCode === 404) {
          await this.createTable();
          continue;
        }
        if (!isTransient(error) || attempt >= attemptsMax) throw storageFailure(tried, target, error);
        await sleep(waitMs(attempt++));
      }
    }
  }

  private async createTable(): Promise<void> {
    this.created ??= this.repeat('creating table', this.client.tableName, () => this.client.createTable());
    try {
      await this.created;
    } finally {
      // The next one to miss the table makes it again: it may have been dropped meanwhile.
      this.created = undefined;
    }
  }
}

function checkTotal(partition: string, operations: readonly RowOperation[]): void {
  let totalBytes = 0;
  for (const operation of operations) {
    if (operation.kind !== 'delete') totalBytes += Buffer.byteLength(JSON.stringify(operation.value) ?? '');
  }
  if (totalBytes <= transactionTextMaxBytes) return;
  const rowKeys = operations.map((operation) => operation.rowKey);
  throw new RowTooLargeError(partition, rowKeys, totalBytes, transactionTextMaxBytes);
}

/** The least string that is greater than every string with the prefix. */
const after = (prefix: string): string =>
  prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1);

const waitMs = (attempt: number): number => firstWaitMs * 2 ** (attempt - 1) * (0.5 + Math.random());
