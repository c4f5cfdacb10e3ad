/** The data in buffers of changing, awkward sizes, as a stream may bring it. */
export async function* inPieces(data: Buffer): AsyncIterable<Buffer> {
  for (let from = 0, lengthBytes = 1; from < data.length; from += lengthBytes) {
    lengthBytes = Math.min(data.length - from, ((lengthBytes * 7919 + 1) % 500_000) + 1);
    yield data.subarray(from, from + lengthBytes);
  }
}
