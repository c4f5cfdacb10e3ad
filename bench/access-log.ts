import { open } from 'node:fs/promises';

/** Requests by what they ask of the storage service. */
export const requestKinds = ['table get', 'table query', 'table write', 'blob read', 'blob write'] as const;
export type RequestKind = (typeof requestKinds)[number];
export type RequestCounts = Record<RequestKind, number>;

export const noRequests = (): RequestCounts =>
  Object.fromEntries(requestKinds.map((kind) => [kind, 0])) as RequestCounts;

const request = /"([A-Z]+) (\S+) HTTP\/[\d.]+" \d{3}/;
/** Table requests name the app's account and then a table, its entities, or a transaction; blobs lie deeper. */
const tablePath = /^\/devstoreaccount1\/(\$batch|Tables|[A-Za-z][A-Za-z0-9]*)(\(|\?|$)/;

export function kindOfRequest(line: string): RequestKind | undefined {
  const found = request.exec(line);
  const [, method, target = ''] = found ?? [];
  if (method === undefined) return undefined;
  const isRead = method === 'GET' || method === 'HEAD';
  if (!tablePath.test(decodeURIComponent(target.split('?')[0] ?? ''))) return isRead ? 'blob read' : 'blob write';
  if (!isRead) return 'table write';
  return target.includes('RowKey=') || target.includes('RowKey%3D') ? 'table get' : 'table query';
}

/** Counts what Azurite's access log gained since the last look: every request of every process, as the service saw it. */
export class AccessLog {
  #offsetBytes = 0;
  #rest = '';

  constructor(private readonly file: string) {}

  async take(): Promise<RequestCounts> {
    const counts = noRequests();
    const file = await open(this.file);
    try {
      const piece = Buffer.alloc(1024 * 1024);
      for (;;) {
        const { bytesRead } = await file.read(piece, 0, piece.length, this.#offsetBytes);
        if (bytesRead === 0) return counts;
        this.#offsetBytes += bytesRead;
        const lines = (this.#rest + piece.toString('latin1', 0, bytesRead)).split('\n');
        this.#rest = lines.pop() ?? '';
        for (const line of lines) {
          const kind = kindOfRequest(line);
          if (kind !== undefined) counts[kind]++;
        }
      }
    } finally {
      await file.close();
    }
  }
}
