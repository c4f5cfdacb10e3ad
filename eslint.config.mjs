import tseslint from 'typescript-eslint';

/** Calls that make an orchestrator differ between replays (functions-host facts, C8). */
const replayUnsafe = [
  {
    selector: "CallExpression[callee.object.name='Date']",
    message: 'Date is not replay-safe: use context.df.currentUtcDateTime.',
  },
  {
    selector: "NewExpression[callee.name='Date']",
    message: 'Date is not replay-safe: use context.df.currentUtcDateTime.',
  },
  {
    selector: "CallExpression[callee.object.name='Math'][callee.property.name='random']",
    message: 'Math.random is not replay-safe: use context.df.newGuid.',
  },
  {
    selector: "MemberExpression[object.name='Temporal'][property.name='Now']",
    message: 'Temporal.Now is not replay-safe.',
  },
  { selector: "MemberExpression[object.name='crypto']", message: 'crypto is not replay-safe.' },
  {
    selector: 'AwaitExpression',
    message: 'An orchestrator is a synchronous generator: yield durable tasks, never await.',
  },
  { selector: 'FunctionDeclaration[async=true]', message: 'An orchestrator is a synchronous generator, never async.' },
  {
    selector: 'ArrowFunctionExpression[async=true]',
    message: 'An orchestrator is a synchronous generator, never async.',
  },
  { selector: 'FunctionExpression[async=true]', message: 'An orchestrator is a synchronous generator, never async.' },
];

export default tseslint.config(
  { ignores: ['dist/**', 'node_modules/**', '.understudy/**'] },
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.recommendedTypeChecked, ...tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/consistent-type-definitions': 'off',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-explicit-any': 'error',
      eqeqeq: 'error',
      'no-empty': ['error', { allowEmptyCatch: false }],
    },
  },
  {
    // node:test's `test` and `describe` return promises that the runner owns.
    files: ['test/**/*.ts'],
    rules: {
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafeCalls: [
            { from: 'package', package: 'node:test', name: ['test', 'describe', 'it', 'suite'] },
          ],
        },
      ],
    },
  },
  {
    files: ['orchestrators/**/*.ts'],
    rules: {
      'no-restricted-syntax': ['error', ...replayUnsafe],
      'no-restricted-globals': [
        'error',
        'Date',
        'process',
        'setTimeout',
        'setInterval',
        'setImmediate',
        'fetch',
        'performance',
        'crypto',
        'console',
        'queueMicrotask',
      ],
    },
  },
);
