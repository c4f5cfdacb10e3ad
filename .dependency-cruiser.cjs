/** The import table of docs/architecture.md, as rules. `allowed` is a white list: what no row permits is an error. */
const node = (names) => ({ path: `^(node:)?(${names})$` });
const row = (comment, from, ...to) =>
  to.map((path) => ({ comment, from: { path: from }, to: typeof path === 'string' ? { path } : path }));
const npm = (names) => ({ path: `node_modules/(${names})(/|$)` });
const anyNpm = { path: 'node_modules/' };
const anyCore = { dependencyTypes: ['core'] };
const own = '^(core|orchestrators|activities|functions|providers|relay|devhost|cli|portal|scripts|test|bench)/';

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-unresolved', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  allowedSeverity: 'error',
  allowed: [
    ...row(
      'core/domain: itself, a schema library, Temporal',
      '^core/domain/',
      '^core/domain/',
      npm('zod|temporal-polyfill'),
    ),
    ...row(
      'core/ports (and the byte interfaces that they speak in)',
      '^core/ports/',
      '^core/ports/',
      '^core/domain/',
      '^core/dataplane/random-access\\.ts$',
      npm('temporal-polyfill'),
    ),
    ...row(
      'core/records: the rows of the state table, over the port',
      '^core/records/',
      '^core/(records|domain|ports)/',
      npm('zod|temporal-polyfill'),
      node('crypto|zlib|buffer'),
    ),
    ...row(
      'core/dataplane: bytes only',
      '^core/dataplane/',
      '^core/(dataplane|domain|ports)/',
      node('buffer|crypto|zlib|stream|assert|util'),
      npm('@node-rs/crc32'),
    ),
    ...row(
      'orchestrators',
      '^orchestrators/',
      '^orchestrators/',
      '^core/domain/',
      '^activities/contract\\.ts$',
      npm('durable-functions|temporal-polyfill'),
    ),
    ...row(
      'activities',
      '^activities/',
      '^activities/',
      '^core/',
      npm('@azure/functions|p-limit|temporal-polyfill|zod'),
      node('assert|crypto'),
    ),
    {
      comment: 'providers/X: core, its SDK, never providers/Y',
      from: { path: '^providers/([^/]+)/' },
      to: { path: '^providers/$1/' },
    },
    ...row(
      'providers (providers/local-files is ground that all of them may stand on)',
      '^providers/',
      '^core/',
      '^providers/local-files/',
      { ...anyNpm, pathNot: 'node_modules/(@azure/functions|durable-functions)/' },
      anyCore,
    ),
    ...row(
      'functions: everything above',
      '^functions/',
      '^(functions|core|orchestrators|activities|providers)/',
      anyNpm,
      anyCore,
    ),
    ...row(
      'relay',
      '^relay/',
      '^(relay|core|providers)/',
      { ...anyNpm, pathNot: 'node_modules/(@azure/functions|durable-functions)/' },
      anyCore,
    ),
    ...row('cli: npm packages only', '^cli/', '^cli/', anyNpm, anyCore),
    ...row('devhost: Node and npm packages only', '^devhost/', '^devhost/', anyNpm, anyCore),
    ...row('scripts', '^scripts/', own, anyNpm, anyCore),
    ...row('test', '^test/', own, anyNpm, anyCore),
    ...row('bench', '^bench/', own, anyNpm, anyCore),
    { from: { path: 'node_modules/' }, to: {} },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '(^|/)dist/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
    },
  },
};
