import { UnderstudyError } from '../../core/domain/errors.js';
import { RowTooLargeError, rowTextMaxBytes, type StateRow } from '../../core/ports/state-table.js';

/**
 * How a row's JSON lies in an entity.
 *
 *   text   string   the JSON, when it fits one property
 *   b00 …  binary   else its UTF-8 in pieces: a string would take twice the room, and an entity holds 1 MiB
 *   bytes  int32    length of the UTF-8, checked on reading
 *   writer string   drawn for each transaction: tells whether a write whose answer was lost had its effect
 */
const textMaxChars = 30_000;
/** Azure: a binary property holds 64 KiB. */
const pieceBytes = 60_000;

const pieceName = (index: number): string => `b${String(index).padStart(2, '0')}`;

/** The properties of an entity as JSON for the wire. */
export function encodeRow(partition: string, rowKey: string, value: unknown, writer: string): string {
  // undefined and functions have no JSON, whatever the type of stringify says.
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) throw new TypeError(`the value of row ${rowKey} has no JSON`);
  const bytes = Buffer.byteLength(text);
  if (bytes > rowTextMaxBytes) throw new RowTooLargeError(partition, [rowKey], bytes, rowTextMaxBytes);
  const entity: Record<string, unknown> = { PartitionKey: partition, RowKey: rowKey, bytes, writer };
  if (text.length <= textMaxChars) {
    entity.text = text;
  } else {
    const utf8 = Buffer.from(text);
    for (let from = 0, index = 0; from < bytes; from += pieceBytes, index++) {
      entity[pieceName(index)] = utf8.toString('base64', from, Math.min(bytes, from + pieceBytes));
      entity[`${pieceName(index)}@odata.type`] = 'Edm.Binary';
    }
  }
  // Pure ASCII: parts of a transaction are split by patterns that stop at some line separators of Unicode.
  return JSON.stringify(entity).replace(/[\u007f-\uffff]/g, (char) => {
    return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}

/** As the table client hands it over. */
export function decodeRow(partition: string, entity: Record<string, unknown>): StateRow & { writer: unknown } {
  const { rowKey, etag, text, bytes, writer } = entity;
  let json: string | undefined;
  if (typeof text === 'string') {
    json = text;
  } else {
    const pieces: Uint8Array[] = [];
    for (let index = 0; entity[pieceName(index)] instanceof Uint8Array; index++) {
      pieces.push(entity[pieceName(index)] as Uint8Array);
    }
    json = Buffer.concat(pieces).toString();
  }
  if (typeof rowKey !== 'string' || typeof etag !== 'string' || Buffer.byteLength(json) !== bytes) {
    throw new UnderstudyError({
      code: 'US6003',
      message: `US6003 reading row ${String(rowKey)} of partition ${partition}: it is not as Understudy writes rows`,
      possibleCauses: 'Another program wrote into the table, or a newer version of Understudy did.',
      recommendedAction: 'Run the version that wrote the row, or restore the table from a copy.',
      details: { partition, rowKey },
    });
  }
  return { rowKey, etag, value: JSON.parse(json) as unknown, writer };
}
