// Runs the import table (.dependency-cruiser.cjs) and refuses to pass when it saw no modules:
// dependency-cruiser reports 0 modules and exits green on a TypeScript it cannot read.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const folders = 'core orchestrators activities functions providers relay devhost cli portal scripts test bench'
  .split(' ')
  .filter((folder) => existsSync(folder));
const smallestPlausibleModuleCount = 20;

let output;
let failed = false;
try {
  output = execFileSync(
    process.execPath,
    [
      'node_modules/dependency-cruiser/bin/dependency-cruise.mjs',
      '--config',
      '.dependency-cruiser.cjs',
      '--output-type',
      'json',
      ...folders,
    ],
    { maxBuffer: 256 * 1024 * 1024, encoding: 'utf8' },
  );
} catch (error) {
  output = error.stdout;
  failed = true;
}
const { modules, summary } = JSON.parse(output);
const seen = modules.filter((module) => module.source.endsWith('.ts')).length;
for (const violation of summary.violations) {
  console.error(`${violation.rule.severity} ${violation.rule.name}: ${violation.from} -> ${violation.to}`);
}
if (seen < smallestPlausibleModuleCount) {
  console.error(
    `the import check saw ${seen} TypeScript modules, fewer than ${smallestPlausibleModuleCount}: it is not working`,
  );
  failed = true;
}
console.log(`import rules: ${seen} modules, ${summary.violations.length} violations`);
process.exit(failed || summary.error > 0 ? 1 : 0);
