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
const tableApiVersion = '2019-02-02';
const httpClient = createDefaultHttpClient();

interface OperationRequest {
  method: 'POST' | 'PUT' | 'DELETE';
  url: string;
  headers: Record<string, string>;
  body: string;
}

/** Operations in the service's terms, ready to be sent once or, after a lost answer, again. */
export function prepareTransaction(
  client: TableClient,
  partition: string,
  operations: readonly RowOperation[],
  writer: string,
): OperationRequest[] {
  const requests = operations.map((operation) => requestOf(client, partition, operation, writer));
  const totalBytes = requests.reduce((sum, { url, body }) => sum + url.length + body.length + 400, 0);
  if (totalBytes > bodyMaxBytes) {
    const rowKeys = operations.map((operation) => operation.rowKey);
    throw new RowTooLargeError(partition, rowKeys, totalBytes, bodyMaxBytes);
  }
  return requests;
}

function requestOf(client: TableClient, partition: string, operation: RowOperation, writer: string): OperationRequest {
  const key = (text: string): string => encodeURIComponent(text.replaceAll("'", "''"));
  const inTable = `${client.url.replace(/\/$/, '')}/${client.tableName}`;
  const entityUrl = `${inTable}(PartitionKey='${key(partition)}',RowKey='${key(operation.rowKey)}')`;
  const ifMatch = { 'If-Match': ('etag' in operation ? operation.etag : undefined) ?? '*' };
  const accept = { Accept: 'application/json;odata=minimalmetadata', DataServiceVersion: '3.0' };
  const content = { ...accept, 'Content-Type': 'application/json' };
  if (operation.kind === 'delete') {
    return { method: 'DELETE', url: entityUrl, headers: { ...accept, ...ifMatch }, body: '' };
  }
  const body = encodeRow(partition, operation.rowKey, operation.value, writer);
  switch (operation.kind) {
    case 'insert':
      return { method: 'POST', url: inTable, headers: { ...content, Prefer: 'return-no-content' }, body };
    case 'replace':
      return { method: 'PUT', url: entityUrl, headers: { ...content, ...ifMatch }, body };
    case 'upsert':
      return { method: 'PUT', url: entityUrl, headers: content, body };
  }
}

/** One operation goes alone, which is faster; more go as an entity group. */
export async function sendTransaction(
  client: TableClient,
  requests: readonly OperationRequest[],
): Promise<TransactionOutcome> {
  const [first, ...others] = requests;
  return first && others.length === 0 ? sendAlone(client, first) : sendGroup(client, requests);
}

async function sendAlone(client: TableClient, request: OperationRequest): Promise<TransactionOutcome> {
  const { method, url, headers, body } = request;
  const { status, text, etag } = await send(client, { method, url, headers, ...(body !== '' && { body }) });
  return status >= 300 ? refusal(status, text) : { kind: 'written', etags: [method === 'DELETE' ? undefined : etag] };
}

async function sendGroup(client: TableClient, requests: readonly OperationRequest[]): Promise<TransactionOutcome> {
  const id = randomUUID();
  const lines = [`--batch_${id}`, `Content-Type: multipart/mixed; boundary=changeset_${id}`, ''];
  for (const { method, url, headers, body } of requests) {
    lines.push(`--changeset_${id}`, 'Content-Type: application/http', 'Content-Transfer-Encoding: binary', '');
    lines.push(`${method} ${url} HTTP/1.1`, ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`));
    lines.push('', body);
  }
  lines.push(`--changeset_${id}--`, `--batch_${id}--`, '');
  const { status, text } = await send(client, {
    method: 'POST',
    url: `${client.url.replace(/\/$/, '')}/$batch`,
    headers: {
      Accept: 'application/json',
      'Content-Type': `multipart/mixed; boundary=batch_${id}`,
      DataServiceVersion: '3.0',
      MaxDataServiceVersion: '3.0;NetFx',
    },
    body: lines.join('\r\n'),
  });
  if (status !== 202) return refusal(status, text);
  const etags: (string | undefined)[] = [];
  for (const part of text.split('--changesetresponse_').slice(1)) {
    const partStatus = Number(/HTTP\/1\.1 (\d{3})/.exec(part)?.[1]);
    // The closing boundary.
    if (Number.isNaN(partStatus)) continue;
    if (partStatus >= 300) return refusal(partStatus, part);
    etags.push(/^ETag: *(.+?)\s*$/im.exec(part)?.[1]);
  }
  if (etags.length !== requests.length) {
    throw Object.assign(new Error(`${etags.length} answers to a transaction of ${requests.length} operations`), {
      code: 'PARSE_ERROR',
    });
  }
  return { kind: 'written', etags };
}

async function send(
  client: TableClient,
  request: { method: OperationRequest['method']; url: string; headers: Record<string, string>; body?: string },
): Promise<{ status: number; text: string; etag: string | undefined }> {
  const response = await client.pipeline.sendRequest(
    httpClient,
    createPipelineRequest({
      ...request,
      headers: createHttpHeaders({ ...request.headers, 'x-ms-version': tableApiVersion }),
      allowInsecureConnection: request.url.startsWith('http:'),
    }),
  );
  return { status: response.status, text: response.bodyAsText ?? '', etag: response.headers.get('etag') };
}

function refusal(statusCode: number, text: string): TransactionOutcome & { kind: 'refused' } {
  const code = /"code" *: *"([^"]*)"/.exec(text)?.[1] ?? '';
  const message = /"value" *: *"([^"]*)/.exec(text)?.[1] ?? text.slice(0, 200);
  const index = /^(\d+):/.exec(message)?.[1];
  return { kind: 'refused', statusCode, code, message, index: index === undefined ? undefined : Number(index) };
}
