import { z } from 'zod';
import type { RegisteredFunction } from '../contract.js';
import type { RouteTemplate } from './route-template.js';
import { comparePrecedence, matchRoute, parseRouteTemplate } from './route-template.js';

export interface HttpRoute {
  function: RegisteredFunction;
  template: RouteTemplate;
  /** Upper case; empty means every method. */
  methods: string[];
}

const httpBinding = z.object({ route: z.string().nullish(), methods: z.array(z.string()).nullish() });

/** All HTTP triggers, in the order in which they are tried. */
export function buildRouteTable(functions: Iterable<RegisteredFunction>, routePrefix: string): HttpRoute[] {
  return [...functions]
    .filter((registered) => registered.trigger === 'http')
    .map((registered) => {
      const { route, methods } = httpBinding.parse(registered.triggerBinding);
      const path = [routePrefix, route ?? registered.name].filter((part) => part !== '').join('/');
      return {
        function: registered,
        template: parseRouteTemplate(path),
        methods: (methods ?? []).map((method) => method.toUpperCase()),
      };
    })
    .sort((a, b) => comparePrecedence(a.template, b.template));
}

export interface RouteMatch {
  route: HttpRoute;
  params: Record<string, string>;
}

/** The first route for method and path. As on the real host, a path known under other methods only is not found. */
export function findRoute(routes: readonly HttpRoute[], method: string, path: string): RouteMatch | undefined {
  for (const route of routes) {
    if (route.methods.length > 0 && !route.methods.includes(method.toUpperCase())) continue;
    const params = matchRoute(route.template, path);
    if (params !== undefined) return { route, params };
  }
  return undefined;
}

/** Pairs of routes that some request could match both, with nothing to choose between them. */
export function findCollisions(routes: readonly HttpRoute[]): [HttpRoute, HttpRoute][] {
  const collisions: [HttpRoute, HttpRoute][] = [];
  for (const [index, a] of routes.entries()) {
    for (const b of routes.slice(index + 1)) {
      const shareMethod =
        a.methods.length === 0 || b.methods.length === 0 || a.methods.some((method) => b.methods.includes(method));
      if (shareMethod && shape(a.template) === shape(b.template)) collisions.push([a, b]);
    }
  }
  return collisions;
}

/** The template without the names of its parameters. */
function shape(template: RouteTemplate): string {
  return template.segments
    .map((segment) => {
      if (segment.kind === 'literal') return segment.text.toLowerCase();
      if (segment.kind === 'catchAll') return `{*${segment.constraints.length > 0 ? ':' : ''}}`;
      return segment.parts
        .map((part) => (part.kind === 'literal' ? part.text.toLowerCase() : part.constraints.length > 0 ? '{:}' : '{}'))
        .join('');
    })
    .join('/');
}
