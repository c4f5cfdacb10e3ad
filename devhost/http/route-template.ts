import { DevhostError } from '../errors.js';
import type { Constraint } from './route-constraints.js';
import { parseConstraints } from './route-constraints.js';

/**
 * ASP.NET route templates, as HTTP triggers carry them: `vaults/{name}/items/{id:guid?}`, `files/{*path}`,
 * `{name}.{extension}`. Letters match without regard to case.
 */
export interface RouteTemplate {
  text: string;
  segments: Segment[];
  /** Smaller comes first: one digit a segment, literals before constrained parameters before parameters. */
  precedence: number[];
}

type Part =
  | { kind: 'literal'; text: string }
  | { kind: 'parameter'; name: string; constraints: Constraint[]; fallback: string | undefined; isOptional: boolean };
type Segment =
  | { kind: 'literal'; text: string }
  | { kind: 'parameter'; parts: Part[] }
  | { kind: 'catchAll'; name: string; constraints: Constraint[]; fallback: string | undefined };

export function parseRouteTemplate(text: string): RouteTemplate {
  const trimmed = text.replace(/^\/+|\/+$/g, '');
  const segments = trimmed === '' ? [] : splitSegments(trimmed).map((segment) => parseSegment(segment, text));
  const catchAllAt = segments.findIndex((segment) => segment.kind === 'catchAll');
  if (catchAllAt >= 0 && catchAllAt !== segments.length - 1) {
    throw badRoute(text, 'a catch-all parameter may stand in the last segment only');
  }
  const names = segments.flatMap(parameterNames).map((name) => name.toLowerCase());
  const repeated = names.find((name, index) => names.indexOf(name) !== index);
  if (repeated !== undefined) throw badRoute(text, `the parameter '${repeated}' appears twice`);
  return { text: trimmed, segments, precedence: segments.map(precedenceDigit) };
}

const badRoute = (text: string, why: string) => new DevhostError('badRoute', `route '${text}': ${why}`);

function parameterNames(segment: Segment): string[] {
  if (segment.kind === 'literal') return [];
  if (segment.kind === 'catchAll') return [segment.name];
  return segment.parts.flatMap((part) => (part.kind === 'parameter' ? [part.name] : []));
}

/** Splits at slashes outside braces: a regex constraint may hold a slash. */
function splitSegments(text: string): string[] {
  const segments = [''];
  let depth = 0;
  for (const character of text) {
    if (character === '{') depth++;
    if (character === '}') depth--;
    if (character === '/' && depth === 0) segments.push('');
    else segments.push((segments.pop() ?? '') + character);
  }
  return segments;
}

function parseSegment(segment: string, route: string): Segment {
  if (segment === '') throw badRoute(route, 'it has an empty segment');
  const parts: Part[] = [];
  let rest = segment;
  while (rest !== '') {
    const open = rest.indexOf('{');
    if (open !== 0) {
      const literal = open < 0 ? rest : rest.slice(0, open);
      if (/[}?]/.test(literal)) throw badRoute(route, `'${literal}' holds a character that a literal must not hold`);
      parts.push({ kind: 'literal', text: literal });
      rest = rest.slice(literal.length);
      continue;
    }
    const close = closingBrace(rest);
    if (close < 0) throw badRoute(route, 'a brace is not closed');
    const inner = rest.slice(1, close);
    rest = rest.slice(close + 1);
    const catchAll = /^\*{1,2}(.+)$/s.exec(inner);
    if (catchAll !== null) {
      if (parts.length > 0 || rest !== '') throw badRoute(route, 'a catch-all parameter must be a whole segment');
      const parameter = parseParameter(catchAll[1] ?? '', route);
      return { ...parameter, kind: 'catchAll' };
    }
    if (parts.at(-1)?.kind === 'parameter') throw badRoute(route, 'two parameters need a literal between them');
    parts.push(parseParameter(inner, route));
  }
  const [only] = parts;
  if (only?.kind === 'literal' && parts.length === 1) return only;
  const early = parts.slice(0, -1).some((part) => part.kind === 'parameter' && part.isOptional);
  if (early) throw badRoute(route, 'an optional parameter must end its segment');
  return { kind: 'parameter', parts };
}

function closingBrace(text: string): number {
  let depth = 0;
  for (let index = 0; index < text.length; index++) {
    if (text[index] === '{') depth++;
    if (text[index] === '}' && --depth === 0) return index;
  }
  return -1;
}

function parseParameter(inner: string, route: string) {
  const match = /^([^:=?{}*/]+)((?::.*?)?)(?:=(.*?))?(\?)?$/s.exec(inner);
  if (match === null) throw badRoute(route, `'{${inner}}' is not a parameter`);
  const [, name = '', constraints = '', fallback, optional] = match;
  return {
    kind: 'parameter' as const,
    name,
    constraints: parseConstraints(constraints, route),
    fallback,
    isOptional: optional !== undefined,
  };
}

// ASP.NET's RoutePrecedence for inbound matching.
function precedenceDigit(segment: Segment): number {
  if (segment.kind === 'literal') return 1;
  if (segment.kind === 'catchAll') return segment.constraints.length > 0 ? 4 : 5;
  const [only] = segment.parts;
  if (segment.parts.length > 1) return 2;
  return only?.kind === 'parameter' && only.constraints.length > 0 ? 2 : 3;
}

/** Orders routes as ASP.NET tries them. */
export function comparePrecedence(a: RouteTemplate, b: RouteTemplate): number {
  const length = Math.max(a.precedence.length, b.precedence.length);
  for (let index = 0; index < length; index++) {
    const difference = (a.precedence[index] ?? 0) - (b.precedence[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.text.localeCompare(b.text);
}

/** The parameters' values, or undefined when the path is another. `path` is still percent-encoded. */
export function matchRoute(template: RouteTemplate, path: string): Record<string, string> | undefined {
  const given = path.replace(/^\/|\/$/g, '');
  const pieces = given === '' ? [] : given.split('/');
  const values: Record<string, string> = {};
  for (const [index, segment] of template.segments.entries()) {
    if (segment.kind === 'catchAll') {
      const text = decode(pieces.slice(index).join('/')) ?? '';
      const value = text === '' ? segment.fallback : text;
      if (value !== undefined) {
        if (!segment.constraints.every((allows) => allows(value))) return undefined;
        values[segment.name] = value;
      }
      return values;
    }
    const piece = pieces[index];
    const text = piece === undefined ? undefined : decode(piece);
    if (piece !== undefined && (text === undefined || text === '')) return undefined;
    if (!matchSegment(segment, text, values)) return undefined;
  }
  return pieces.length > template.segments.length ? undefined : values;
}

/** A percent-encoded slash stays encoded, as in ASP.NET: it is no separator, and no parameter holds one. */
function decode(text: string): string | undefined {
  try {
    return text.split(/%2f/i).map(decodeURIComponent).join('%2F');
  } catch {
    return undefined;
  }
}

function matchSegment(
  segment: Exclude<Segment, { kind: 'catchAll' }>,
  text: string | undefined,
  values: Record<string, string>,
): boolean {
  if (segment.kind === 'literal') return text?.toLowerCase() === segment.text.toLowerCase();
  const [only] = segment.parts;
  if (text === undefined) {
    if (segment.parts.length > 1 || only?.kind !== 'parameter') return false;
    if (only.fallback !== undefined) values[only.name] = only.fallback;
    return only.isOptional || only.fallback !== undefined;
  }
  const found = matchParts(segment.parts, text);
  if (found === null) return false;
  let group = 0;
  for (const part of segment.parts) {
    if (part.kind === 'literal') continue;
    const value = found[++group];
    if (value === undefined) continue;
    if (!part.constraints.every((allows) => allows(value))) return false;
    values[part.name] = value;
  }
  return true;
}

/** Parts match from the right, as in ASP.NET: in `{name}.{extension}` the last dot separates. */
function matchParts(parts: Part[], text: string): RegExpExecArray | null {
  const expression = (chosen: Part[]) =>
    chosen
      .map((part) => (part.kind === 'literal' ? part.text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&') : '(.+)'))
      .join('');
  const found = new RegExp(`^${expression(parts)}$`, 'is').exec(text);
  const last = parts.at(-1);
  if (found !== null || last?.kind !== 'parameter' || !last.isOptional) return found;
  // The dot before an optional part that is absent is optional too.
  const before = parts.at(-2);
  const dropped = before?.kind === 'literal' && before.text === '.' ? 2 : 1;
  return new RegExp(`^${expression(parts.slice(0, -dropped))}$`, 'is').exec(text);
}
