import assert from 'node:assert/strict';
import { test } from 'node:test';
import { healthEvents } from '../../../../../core/domain/health/health-events.js';
import type { HealthLevel, HealthReason, ToldHealth } from '../../../../../core/domain/health/health-reason.js';
import { sampleItem } from '../../../../support/sample-item.js';

const reason = (code: string, level: HealthReason['level'] = 'Warning'): HealthReason => ({
  level,
  code,
  summary: 's',
  message: 'm',
  possibleCauses: 'p',
  recommendedAction: 'a',
  at: '2026-01-05T10:00:00Z',
});
const told = (level: HealthLevel, ...codes: string[]): ToldHealth => ({ level, codes });

const cases: [what: string, before: ToldHealth | undefined, level: HealthLevel, codes: string[], events: string[]][] = [
  ['a first look at a healthy item', undefined, 'Normal', [], ['levelChanged VmHealth OK']],
  ['nothing new', told('Warning', 'A', 'B'), 'Warning', ['B', 'A'], []],
  ['a reason more', told('Warning', 'A'), 'Warning', ['A', 'B'], ['raised B Warning']],
  ['one reason goes, the other stays', told('Warning', 'A', 'B'), 'Warning', ['B'], ['cleared A OK']],
  ['the last one goes', told('Warning', 'A'), 'Normal', [], ['levelChanged VmHealth OK', 'cleared A OK']],
  ['one takes the place of another', told('Warning', 'A'), 'Warning', ['B'], ['raised B Warning', 'cleared A OK']],
  ['a reason gets graver', told('Warning', 'A'), 'Critical', ['A'], ['levelChanged VmHealth Critical']],
  ['replication ends', told('Critical', 'A'), 'None', [], ['levelChanged VmHealth OK', 'cleared A OK']],
];
for (const [what, health, level, codes, expected] of cases) {
  test(`${what}: ${expected.join(', ') || 'no event'}`, () => {
    const item = sampleItem(health === undefined ? {} : { health });
    const found = healthEvents(item, { level, reasons: codes.map((code) => reason(code)) }, 'now');
    assert.deepEqual(
      found.events.map(({ kind, code, severity }) => `${kind} ${code} ${severity}`),
      expected,
    );
    assert.deepEqual(found.told, { level, codes });
    const again = healthEvents(
      { ...item, health: found.told },
      { level, reasons: codes.map((code) => reason(code)) },
      'now',
    );
    assert.deepEqual(again.events, [], 'told once');
  });
}
