/**
 * A GUID as Microsoft's formats store it: 16 bytes, of which the first three groups are little-endian.
 * As text it is lower case, with hyphens, without braces.
 */
export const zeroGuid = '00000000-0000-0000-0000-000000000000';

const shape = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export function readGuid(buffer: Buffer, offsetBytes: number): string {
  const group3 = (buffer.readUInt32LE(offsetBytes) >>> 0).toString(16).padStart(8, '0');
  const group2 = buffer
    .readUInt16LE(offsetBytes + 4)
    .toString(16)
    .padStart(4, '0');
  const group1 = buffer
    .readUInt16LE(offsetBytes + 6)
    .toString(16)
    .padStart(4, '0');
  const rest = buffer.toString('hex', offsetBytes + 8, offsetBytes + 16);
  return `${group3}-${group2}-${group1}-${rest.slice(0, 4)}-${rest.slice(4)}`;
}

export function writeGuid(buffer: Buffer, offsetBytes: number, guid: string): void {
  const text = guid.toLowerCase();
  if (!shape.test(text)) throw new RangeError(`not a GUID: ${guid}`);
  buffer.writeUInt32LE(Number.parseInt(text.slice(0, 8), 16), offsetBytes);
  buffer.writeUInt16LE(Number.parseInt(text.slice(9, 13), 16), offsetBytes + 4);
  buffer.writeUInt16LE(Number.parseInt(text.slice(14, 18), 16), offsetBytes + 6);
  buffer.write(text.slice(19, 23) + text.slice(24), offsetBytes + 8, 'hex');
}
