/**
 * Long texts in table rows. A string property holds 32 Ki UTF-16 units and a row 1 MiB, so a text is cut into
 * properties d0, d1, … of one row, and into several rows where that is not enough.
 */
import type { TableEntity } from '@azure/data-tables';

export type Row = TableEntity<Record<string, string | number | boolean>>;

const chunkChars = 30_000;
/** 14 × 30,000 UTF-16 units are 820 KiB: the rest of the row's 1 MiB is for its other columns. */
const chunksPerRow = 14;

/** Cuts between characters, never inside a surrogate pair, which UTF-8 could not carry. */
export function cutText(text: string): string[] {
  const chunks: string[] = [];
  let start = 0;
  while (start < text.length) {
    let end = Math.min(start + chunkChars, text.length);
    const last = text.charCodeAt(end - 1);
    if (end < text.length && last >= 0xd800 && last <= 0xdbff) end--;
    chunks.push(text.slice(start, end));
    start = end;
  }
  return chunks;
}

export function textColumns(text: string): Record<string, string> {
  const chunks = cutText(text);
  if (chunks.length > chunksPerRow) throw new Error(`a text of ${text.length} characters does not fit one table row`);
  return Object.fromEntries(chunks.map((chunk, index) => [`d${index}`, chunk]));
}

export function columnsText(row: Record<string, unknown>): string {
  let text = '';
  for (let index = 0; ; index++) {
    const chunk = row[`d${index}`];
    if (typeof chunk !== 'string') return text;
    text += chunk;
  }
}

/** The rows `<key>!000`, `<key>!001`, … that hold a text; each says how many there are. */
export function textRows(partitionKey: string, key: string, text: string): Row[] {
  const chunks = cutText(text);
  const partCount = Math.max(1, Math.ceil(chunks.length / chunksPerRow));
  return Array.from({ length: partCount }, (_, part) => {
    const row: Row = { partitionKey, rowKey: partKey(key, part), partCount };
    chunks.slice(part * chunksPerRow, (part + 1) * chunksPerRow).forEach((chunk, index) => {
      row[`d${index}`] = chunk;
    });
    return row;
  });
}

export function partKey(key: string, part: number): string {
  return `${key}!${String(part).padStart(3, '0')}`;
}

/** Puts the texts of all complete keys back together; rows beyond a key's own count are left-overs. */
export function joinRows(rows: Iterable<Record<string, unknown>>): Map<string, { text: string; partCount: number }> {
  const byRowKey = new Map<string, Record<string, unknown>>();
  for (const row of rows) if (typeof row.rowKey === 'string') byRowKey.set(row.rowKey, row);
  const joined = new Map<string, { text: string; partCount: number }>();
  for (const [rowKey, row] of byRowKey) {
    if (!rowKey.endsWith('!000') || typeof row.partCount !== 'number') continue;
    const key = rowKey.slice(0, -4);
    const partCount = row.partCount;
    let text = '';
    let complete = true;
    for (let part = 0; part < partCount; part++) {
      const partRow = byRowKey.get(partKey(key, part));
      if (partRow === undefined) complete = false;
      else text += columnsText(partRow);
    }
    if (complete) joined.set(key, { text, partCount });
  }
  return joined;
}

/** Instance ids as partition keys: whatever Table Storage or a URL could object to becomes `=XX`. */
export function encodeKey(instanceId: string): string {
  return Array.from(instanceId, (character) =>
    /[A-Za-z0-9@:_.-]/.test(character)
      ? character
      : [...Buffer.from(character, 'utf8')]
          .map((byte) => `=${byte.toString(16).toUpperCase().padStart(2, '0')}`)
          .join(''),
  ).join('');
}

/** Sorts after every key that `encodeKey` gives with this prefix. */
export function prefixEnd(encodedPrefix: string): string {
  return `${encodedPrefix}~`;
}
