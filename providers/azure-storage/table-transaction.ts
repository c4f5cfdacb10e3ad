import { randomUUID } from 'node:crypto';
import { createDefaultHttpClient, createHttpHeaders, createPipelineRequest } from '@azure/core-rest-pipeline';
import type { TableClient } from '@azure/data-tables';
import { RowTooLargeError, type RowOperation } from '../../core/ports/state-table.js';
import { encodeRow } from './table-rows.js';

/**
 * One entity group transaction, written and read by hand: the SDK's has no conditional delete and builds a client for
 * each transaction. https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions
 */
export type TransactionOutcome =
  | { kind: 'written'; etags: (string | undefined)[] }
  /** `index` is the operation that was refused, where the service tells. */
  | { kind: 'refused'; statusCode: number; code: string; message: string; index: number | undefined };

/** Azure: the body of a transaction is at most 4 MiB. */
const bodyMaxBytes = 4 * 1024 * 1024;
const httpClient = createDefaultHttpClient();

export function transactionBody(
  client: TableClient,
  partition: string,
  operations: readonly RowOperation[],
  writer: string,
): string {
  const id = randomUUID();
  const lines = [`--batch_${id}`, `Content-Type: multipart/mixed; boundary=changeset_${id}`, ''];
  for (const operation of operations) {
    lines.push(`--changeset_${id}`, 'Content-Type: application/http', 'Content-Transfer-Encoding: binary', '');
    const inTable = `${client.url.replace(/\/$/, '')}/${client.tableName}`;
    const key = (text: string): string => encodeURIComponent(text.replaceAll("'", "''"));
    const entityUrl = `${inTable}(PartitionKey='${key(partition)}',RowKey='${key(operation.rowKey)}')`;
    const condition = 'etag' in operation && operation.etag !== undefined ? operation.etag : '*';
    if (operation.kind === 'delete') {
      lines.push(`DELETE ${entityUrl} HTTP/1.1`, 'Accept: application/json', `If-Match: ${condition}`, '', '');
      continue;
    }
    lines.push(
      operation.kind === 'insert' ? `POST ${inTable} HTTP/1.1` : `PUT ${entityUrl} HTTP/1.1`,
      'Accept: application/json;odata=minimalmetadata',
      'Content-Type: application/json',
      'DataServiceVersion: 3.0',
      ...(operation.kind === 'insert' ? ['Prefer: return-no-content'] : []),
      ...(operation.kind === 'replace' ? [`If-Match: ${condition}`] : []),
      '',
      encodeRow(partition, operation.rowKey, operation.value, writer),
    );
  }
  lines.push(`--changeset_${id}--`, `--batch_${id}--`, '');
  const body = lines.join('\r\n');
  if (body.length > bodyMaxBytes) {
    const rowKeys = operations.map((operation) => operation.rowKey);
    throw new RowTooLargeError(partition, rowKeys, body.length, bodyMaxBytes);
  }
  return body;
}

export async function sendTransaction(
  client: TableClient,
  body: string,
  operationCount: number,
): Promise<TransactionOutcome> {
  const boundary = body.slice(2, body.indexOf('\r\n'));
  const response = await client.pipeline.sendRequest(
    httpClient,
    createPipelineRequest({
      url: `${client.url.replace(/\/$/, '')}/$batch`,
      method: 'POST',
      body,
      headers: createHttpHeaders({
        accept: 'application/json',
        'content-type': `multipart/mixed; boundary=${boundary}`,
        dataserviceversion: '3.0;',
        maxdataserviceversion: '3.0;NetFx',
        'x-ms-version': '2019-02-02',
      }),
      allowInsecureConnection: client.url.startsWith('http:'),
    }),
  );
  const text = response.bodyAsText ?? '';
  if (response.status !== 202) return refusal(response.status, text);
  const parts = text.split('--changesetresponse_').slice(1);
  const etags: (string | undefined)[] = [];
  for (const part of parts) {
    const status = Number(/HTTP\/1\.1 (\d{3})/.exec(part)?.[1]);
    // The closing boundary.
    if (Number.isNaN(status)) continue;
    if (status >= 300) return refusal(status, part);
    etags.push(/^ETag: *(.+?)\s*$/im.exec(part)?.[1]);
  }
  if (etags.length !== operationCount) {
    throw Object.assign(new Error(`${etags.length} answers to a transaction of ${operationCount} operations`), {
      code: 'PARSE_ERROR',
    });
  }
  return { kind: 'written', etags };
}

function refusal(statusCode: number, text: string): TransactionOutcome & { kind: 'refused' } {
  const code = /"code" *: *"([^"]*)"/.exec(text)?.[1] ?? '';
  const message = /"value" *: *"([^"]*)/.exec(text)?.[1] ?? text.slice(0, 200);
  const index = /^(\d+):/.exec(message)?.[1];
  return { kind: 'refused', statusCode, code, message, index: index === undefined ? undefined : Number(index) };
}
