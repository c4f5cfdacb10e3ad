import type { z } from 'zod';
import { ApiError } from './api-error.js';

/** `$.properties.providerSpecificInput.replicationInterval`, `$.items[3].epoch`. */
function jsonPath(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, step) => text + (typeof step === 'number' ? `[${step}]` : `.${String(step)}`), '$');
}

export function parseJson(body: Buffer): unknown {
  if (body.length === 0) return undefined;
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body)) as unknown;
  } catch (error) {
    throw new ApiError({
      code: 'US1004',
      armCode: 'InvalidRequestContent',
      httpStatus: 400,
      target: '$',
      message: `the body is not JSON in UTF-8: ${error instanceof Error ? error.message : 'unreadable'}`,
      possibleCauses: 'A truncated body, a wrong encoding, or a text that is not JSON.',
      recommendedAction: 'Send the body as JSON text in UTF-8.',
      cause: error,
    });
  }
}

/** Checks a value against its schema; the refusal names every wrong place by its JSON path. */
export function checkShape<Output>(schema: z.ZodType<Output>, value: unknown): Output {
  const parsed = schema.safeParse(value ?? {});
  if (parsed.success) return parsed.data;
  const wrong = parsed.error.issues.map((issue) => ({ path: jsonPath(issue.path), message: issue.message }));
  // Only where nothing is wrong but what nobody here can do.
  const isUnsupported = parsed.error.issues.every(
    (issue) => issue.code === 'custom' && issue.params?.isUnsupported === true,
  );
  throw new ApiError({
    code: isUnsupported ? 'US1045' : 'US1005',
    armCode: 'InvalidParameter',
    httpStatus: 400,
    ...(wrong[0] === undefined ? {} : { target: wrong[0].path }),
    message: `the body has a wrong shape: ${wrong.map((entry) => `${entry.path}: ${entry.message}`).join('; ')}`,
    possibleCauses:
      value === undefined ? 'The request has no body.' : 'A property is missing, misspelt or of another type.',
    recommendedAction: 'Correct the named properties; docs/api.md names the request model of each operation.',
    details: { wrong },
  });
}
