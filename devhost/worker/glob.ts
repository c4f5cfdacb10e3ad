import { readdirSync } from 'node:fs';
import { join, relative, sep } from 'node:path';

/** Files under `root` that match a glob of `*`, `**`, `?` and `{a,b}`, as slash-separated relative paths, sorted. */
export function globFiles(root: string, pattern: string): string[] {
  const wanted = globExpression(pattern.replace(/^\.\//, ''));
  return walk(root)
    .map((file) => relative(root, file).split(sep).join('/'))
    .filter((file) => wanted.test(file))
    .sort();
}

function walk(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (entry.name === 'node_modules' || entry.name.startsWith('.')) return [];
    const path = join(folder, entry.name);
    return entry.isDirectory() ? walk(path) : [path];
  });
}

export function globExpression(pattern: string): RegExp {
  const braces = /\{([^{}]*)\}/.exec(pattern);
  if (braces !== null) {
    const [whole, alternatives = ''] = braces;
    const one = alternatives.split(',').map((choice) => globExpression(pattern.replace(whole, () => choice)).source);
    return new RegExp(one.join('|'));
  }
  const tokens = pattern.matchAll(/\*\*\/|\*\*|\*|\?|[^*?]+/g);
  return new RegExp(`^${[...tokens].map(([token]) => tokenExpression(token)).join('')}$`);
}

function tokenExpression(token: string): string {
  if (token === '**/') return '(?:.*/)?';
  if (token === '**') return '.*';
  if (token === '*') return '[^/]*';
  if (token === '?') return '[^/]';
  return token.replace(/[.+^${}()|[\]\\]/g, '\\$&');
}
