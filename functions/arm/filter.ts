import { Temporal } from 'temporal-polyfill';
import { ApiError } from '../http/api-error.js';

/**
 * `$filter`: `name eq 'value'` terms joined by `and` or `;`; names in any case, values in single quotes ('' is a quote).
 * Times take `ge` and `le` as well. Anything else is refused with the supported names.
 */
export interface FilterTerm {
  name: string;
  operator: 'eq' | 'ge' | 'le';
  value: string;
}

const termPattern = /^\s*([A-Za-z]+)\s+(eq|ge|le)\s+'((?:[^']|'')*)'\s*(?:and\b|;|$)/i;

export function parseFilter(text: string | null, supported: readonly string[]): FilterTerm[] {
  const terms: FilterTerm[] = [];
  let rest = (text ?? '').trim();
  while (rest !== '') {
    const match = termPattern.exec(rest);
    const [whole, name, operator, value] = match ?? [];
    const known = supported.find((entry) => entry.toLowerCase() === name?.toLowerCase());
    if (whole === undefined || operator === undefined || value === undefined || known === undefined) {
      throw new ApiError({
        code: 'US1013',
        armCode: 'InvalidFilter',
        httpStatus: 400,
        target: '$filter',
        message: `$filter cannot be read at '${rest.slice(0, 80)}'`,
        possibleCauses: 'A name that this operation does not filter by, or a value without single quotes.',
        recommendedAction: `Join terms like ${supported[0] ?? 'name'} eq 'value' by "and"; supported: ${supported.join(', ')}.`,
        details: { supported },
      });
    }
    terms.push({
      name: known,
      operator: operator.toLowerCase() as FilterTerm['operator'],
      value: value.replaceAll("''", "'"),
    });
    rest = rest.slice(whole.length).trim();
  }
  return terms;
}

/** What would be ignored is refused: a client must not take a whole list for a filtered one. */
export function refuseFilter(text: string | null): void {
  if (text === null || text.trim() === '') return;
  throw new ApiError({
    code: 'US1013',
    armCode: 'InvalidFilter',
    httpStatus: 400,
    target: '$filter',
    message: 'this operation takes no $filter',
    recommendedAction: 'Ask without $filter, and choose from the answer; docs/api.md names the operations that filter.',
    details: { supported: [] },
  });
}

/** The value of a term that bounds a time. */
export function instantOf(term: FilterTerm): Temporal.Instant {
  try {
    return Temporal.Instant.from(term.value);
  } catch (error) {
    throw new ApiError({
      code: 'US1013',
      armCode: 'InvalidFilter',
      httpStatus: 400,
      target: '$filter',
      message: `$filter: ${term.name} '${term.value}' is not an instant`,
      recommendedAction: 'Write it like 2026-01-31T18:30:00Z, with its offset.',
      cause: error,
    });
  }
}
