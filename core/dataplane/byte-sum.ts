/**
 * One's complement of the sum of all bytes, 32 bits: the checksum of VHD footers and of replica logs ([MS-HRL] 2.6).
 * Four bytes are taken at a time in two pairs of 16-bit lanes; 128 words keep a lane below its limit (2 × 128 × 255 < 2^16).
 */
export function complementOfByteSum(bytes: Buffer): number {
  return ~byteSum(bytes) >>> 0;
}

const wordsPerRound = 128;

export function byteSum(bytes: Buffer): number {
  const headBytes = Math.min((4 - (bytes.byteOffset % 4)) % 4, bytes.length);
  const wordCount = (bytes.length - headBytes) >>> 2;
  let sum = 0;
  for (let index = 0; index < headBytes; index++) sum += bytes[index] ?? 0;
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset + headBytes, wordCount);
  for (let start = 0; start < wordCount; start += wordsPerRound) {
    const end = Math.min(start + wordsPerRound, wordCount);
    let lanes = 0;
    for (let index = start; index < end; index++) {
      const word = words[index] ?? 0;
      lanes += (word & 0x00ff00ff) + ((word >>> 8) & 0x00ff00ff);
    }
    lanes >>>= 0;
    sum += (lanes & 0xffff) + (lanes >>> 16);
  }
  for (let index = headBytes + wordCount * 4; index < bytes.length; index++) sum += bytes[index] ?? 0;
  return sum % 2 ** 32;
}
