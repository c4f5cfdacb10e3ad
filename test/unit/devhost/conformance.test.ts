import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { conformancePoints } from '../../../devhost/conformance/points.js';

const pointCount = 30;

test('every conformance point has its check, or the reason why only the real host can show it', () => {
  const names = Array.from({ length: pointCount }, (_, index) => `C${index + 1}`);
  assert.deepEqual(Object.keys(conformancePoints), names);
  for (const name of names) {
    const { shownBy } = conformancePoints[name] ?? { shownBy: [] };
    assert.ok(shownBy.length > 0, `${name} is shown by nothing`);
    for (const shown of shownBy) {
      if (shown.kind === 'test') {
        const file = join('test', shown.file);
        assert.ok(existsSync(file), `${name}: there is no ${file}`);
        assert.ok(
          readFileSync(file, 'utf8').includes(`test('${shown.name}'`),
          `${name}: no test '${shown.name}' in ${file}`,
        );
      } else if (shown.kind === 'lint') {
        assert.ok(
          readFileSync('eslint.config.mjs', 'utf8').includes(shown.contains),
          `${name}: no rule ${shown.contains}`,
        );
      } else if (shown.kind === 'realHost') {
        assert.ok(shown.because.length > 20, `${name}: no reason`);
      }
    }
  }
});

test('docs/devhost.md shows every point', () => {
  const page = readFileSync('docs/devhost.md', 'utf8');
  for (const [name, { point }] of Object.entries(conformancePoints)) {
    assert.ok(page.includes(`| ${name} | ${point} |`), `docs/devhost.md does not show ${name} as the table has it`);
  }
});
