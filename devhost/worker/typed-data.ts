import { z } from 'zod';
import type { TypedData } from '../contract.js';

const typedData = z.object({
  string: z.string().optional(),
  json: z.string().optional(),
  bytes: z.instanceof(Uint8Array).optional(),
  // The wire format is a 64-bit integer or a double; what is neither (NaN, infinities) reaches the host as null.
  int: z.union([z.number(), z.nan(), z.literal(Infinity), z.literal(-Infinity)]).optional(),
  double: z.union([z.number(), z.nan(), z.literal(Infinity), z.literal(-Infinity)]).optional(),
  http: z.unknown().optional(),
});

const invocationResponse = z.object({
  returnValue: typedData.nullish(),
  outputData: z.array(z.object({ name: z.string(), data: typedData.nullish() })).nullish(),
});

export interface InvocationResponse {
  returnValue: TypedData | undefined;
  outputData: { name: string; data: TypedData }[];
}

/** What the library's `getResponse` gives, checked. */
export function parseInvocationResponse(response: unknown): InvocationResponse {
  const { returnValue, outputData } = invocationResponse.parse(response);
  return {
    returnValue: returnValue ? toTypedData(returnValue) : undefined,
    outputData: (outputData ?? []).map(({ name, data }) => ({ name, data: data ? toTypedData(data) : {} })),
  };
}

function toTypedData({ string, json, bytes, int, double, http }: z.infer<typeof typedData>): TypedData {
  if (string !== undefined) return { string };
  if (json !== undefined) return { json };
  if (bytes !== undefined) return { bytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length) };
  if (int !== undefined) return Number.isFinite(int) ? { int } : {};
  if (double !== undefined) return Number.isFinite(double) ? { double } : {};
  if (http !== undefined && http !== null) return { http };
  return {};
}
