// Runs the built tests of the named folders under test/ (unit, fault, integration, e2e, long) with node:test.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { faultTable } from './fault-table.mjs';

const suites = process.argv.slice(2);
const concurrency = { unit: 2, fault: 2, integration: 2, e2e: 2, long: 1 };
// Real kills are few in `npm test` and many in the long run (test/support/kill-count.ts).
if (suites.includes('long')) process.env.UNDERSTUDY_LONG = '1';
let exitCode = 0;
for (const suite of suites) {
  const folder = join('dist', 'test', suite);
  const files = (existsSync(folder) ? readdirSync(folder, { recursive: true }) : [])
    .filter((name) => name.endsWith('.test.js'))
    .map((name) => join(folder, name))
    .sort();
  if (files.length === 0) {
    console.error(`no tests found under ${folder}: run "npm run build" first`);
    exitCode = 1;
    continue;
  }
  console.log(`# ${suite}: ${files.length} files`);
  const records = mkdtempSync(join(tmpdir(), 'understudy-tests-'));
  const faultRecord = join(records, 'fault-runs.jsonl');
  const { status } = spawnSync(
    process.execPath,
    ['--enable-source-maps', '--test', `--test-concurrency=${concurrency[suite] ?? 1}`, ...files],
    { stdio: 'inherit', env: { ...process.env, UNDERSTUDY_FAULT_RECORD: faultRecord } },
  );
  for (const line of faultTable(faultRecord)) console.log(line);
  rmSync(records, { recursive: true, force: true });
  if (status !== 0) exitCode = 1;
}
process.exit(exitCode);
