import { DevhostError } from '../errors.js';

export type Constraint = (value: string) => boolean;

const integer =
  (min: bigint, max: bigint): Constraint =>
  (value) => {
    if (!/^[+-]?\d+$/.test(value)) return false;
    const number = BigInt(value.replace(/^\+/, ''));
    return number >= min && number <= max;
  };

const simple: Record<string, Constraint> = {
  int: integer(-(2n ** 31n), 2n ** 31n - 1n),
  long: integer(-(2n ** 63n), 2n ** 63n - 1n),
  bool: (value) => /^(true|false)$/i.test(value),
  decimal: (value) => /^[+-]?\d+(\.\d+)?$/.test(value),
  double: (value) => value.trim() !== '' && Number.isFinite(Number(value)),
  float: (value) => value.trim() !== '' && Number.isFinite(Number(value)),
  guid: (value) => /^[{(]?[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}[)}]?$/i.test(value),
  datetime: (value) => !Number.isNaN(Date.parse(value)),
  alpha: (value) => /^[a-z]*$/i.test(value),
  required: (value) => value !== '',
};

const withArguments: Record<string, (...args: string[]) => Constraint> = {
  min: (bound) => (value) => /^-?\d+$/.test(value) && Number(value) >= Number(bound),
  max: (bound) => (value) => /^-?\d+$/.test(value) && Number(value) <= Number(bound),
  range: (low, high) => (value) =>
    /^-?\d+$/.test(value) && Number(value) >= Number(low) && Number(value) <= Number(high),
  length: (low, high) => (value) => value.length >= Number(low) && value.length <= Number(high ?? low),
  minlength: (bound) => (value) => value.length >= Number(bound),
  maxlength: (bound) => (value) => value.length <= Number(bound),
};

/** The constraints of a route parameter, `:int:min(1)`; empty text is none. */
export function parseConstraints(text: string, route: string): Constraint[] {
  return splitAtColons(text.replace(/^:/, '')).map((constraint) => parseConstraint(constraint, route));
}

function parseConstraint(text: string, route: string): Constraint {
  const [, rawName = '', args] = /^([a-z]+)(?:\((.*)\))?$/is.exec(text) ?? [];
  const name = rawName.toLowerCase();
  if (name === 'regex' && args !== undefined) {
    // Route text doubles braces and brackets that the template would read itself.
    const expression = new RegExp(
      args.replace(/\{\{|\}\}|\[\[|\]\]/g, (pair) => pair.charAt(0)),
      'i',
    );
    return (value) => expression.test(value);
  }
  const plain = args === undefined ? simple[name] : withArguments[name]?.(...args.split(',').map((arg) => arg.trim()));
  if (plain === undefined) throw new DevhostError('badRoute', `route '${route}': unknown constraint '${text}'`);
  return plain;
}

/** Colons inside parentheses belong to a regular expression. */
function splitAtColons(text: string): string[] {
  if (text === '') return [];
  const parts = [''];
  let depth = 0;
  for (const character of text) {
    if (character === '(') depth++;
    if (character === ')') depth--;
    if (character === ':' && depth === 0) parts.push('');
    else parts.push((parts.pop() ?? '') + character);
  }
  return parts;
}
