import { z } from 'zod';

/**
 * A property of the SDK's models that Understudy has nothing for. Absent, empty, "false" and words of its own for "no" (`negations`)
 * say what leaving it out says; anything else is refused (US1045), so that nobody takes it for done.
 */
export const unsupported = (why: string, negations: readonly string[] = []) =>
  z
    .unknown()
    .superRefine((value, context) => {
      if (saysNothing(value, ['', 'false', ...negations])) return;
      context.addIssue({ code: 'custom', message: `not supported: ${why}`, params: { isUnsupported: true } });
    })
    .optional();

function saysNothing(value: unknown, negations: readonly string[]): boolean {
  if (value === null || value === false) return true;
  if (typeof value === 'string') return negations.some((no) => no.toLowerCase() === value.toLowerCase());
  return typeof value === 'object' && Object.keys(value).length === 0;
}
