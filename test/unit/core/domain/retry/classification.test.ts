import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { UnderstudyError } from '../../../../../core/domain/errors.js';
import { conflictError } from '../../../../../core/domain/replication/conflict.js';
import { classificationByCode, classify, retryAdvice } from '../../../../../core/domain/retry/classification.js';
import { failureOf } from '../../../../../core/domain/workflows/failure.js';

/** Codes that are documented, and of which none stops the replication of an item that is protected. */
const elsewhere = new Set([
  // Reading a VHD file; orders and jobs.
  ...['US2020', 'US2021', 'US3020', 'US3022', 'US3023', 'US3025'],
  // The cloud's network and virtual machines, which a failover needs.
  ...['US6011', 'US6050', 'US6051', 'US6052', 'US6053', 'US6054', 'US6070'],
  // The site's own process, what guests and judges ask of it.
  ...['US5002', 'US5006', 'US5017'],
  // Registering and starting a relay; a warning after a failover.
  ...['US5100', 'US5101', 'US5102', 'US5103', 'US5104', 'US5105', 'US5106', 'US5123'],
]);
/** Health and its events, which are told and not thrown; jobs of resynchronization; prerequisites; failover; the API. */
const families = /^US(305[02-9]|30[67]\d|31\d\d|4\d{3}|10\d\d|110\d|1112)$/;
const isElsewhere = (code: string) => elsewhere.has(code) || families.test(code);

const documented = [...readFileSync('docs/errors.md', 'utf8').matchAll(/^(?:- )?\*\*(US\d{4})\*\*/gm)].map(
  (match) => match[1] ?? '',
);

test('every documented code is classified, or stops no replication', () => {
  assert.ok(documented.length > 100);
  const undecided = documented.filter((code) => !(code in classificationByCode) && !isElsewhere(code));
  assert.deepEqual(undecided, []);
});

test('every classified code is documented', () => {
  const unknown = Object.keys(classificationByCode).filter((code) => !documented.includes(code));
  assert.deepEqual(unknown, []);
});

/** The object literals of the sources that make an error of a code, with the retry advice that stands in them. */
function* errorsInSources(): Generator<{ code: string; advice: string; path: string }> {
  for (const folder of ['core', 'activities', 'orchestrators', 'functions', 'providers', 'relay']) {
    for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
      if (!name.endsWith('.ts')) continue;
      const path = join(folder, name);
      const text = readFileSync(path, 'utf8');
      for (const match of text.matchAll(/\bcode: '(US\d{4})'/g)) {
        const block = blockAround(text, match.index);
        const advice = /\bretry: ([^,\n]+)/.exec(block)?.[1];
        const isError = /(?:super|Error)\($/.test(text.slice(0, text.lastIndexOf(block, match.index)));
        if (advice !== undefined || isError) yield { code: match[1] ?? '', advice: advice ?? "'never'", path };
      }
    }
  }
}

function blockAround(text: string, at: number): string {
  const edge = (from: number, step: 1 | -1, opens: string, closes: string) => {
    let depth = 0;
    let index = from;
    for (; depth >= 0; index += step) {
      if (text[index] === opens) depth++;
      else if (text[index] === closes) depth--;
    }
    return index - step;
  };
  return text.slice(edge(at, -1, '}', '{'), edge(at, 1, '{', '}') + 1);
}

test('the advice that an error carries agrees with the classification of its code', () => {
  const errors = [...errorsInSources()].filter(({ code }) => code in classificationByCode);
  assert.ok(errors.length > 50, `only ${errors.length} errors were found: the search is broken`);
  const wrong = errors.filter(({ code, advice }) => (advice === "'never'") !== (retryAdvice(code) === 'never'));
  assert.deepEqual(wrong, []);
});

test('a conflict carries the advice of its code', () => {
  const gap = conflictError({ kind: 'gap', expected: 2, announced: 3 });
  assert.deepEqual([gap.code, gap.retry], ['US3001', 'later']);
  const other = conflictError({ kind: 'digestConflict', what: 'cycle 2' });
  assert.deepEqual([other.code, other.retry], ['US3002', 'never']);
});

test('what issue and operators know by name falls where they expect it', () => {
  const expected: [string, string, string][] = [
    ['US5110', 'recoverable', 'network'],
    ['US5016', 'recoverable', 'lowDiskSpace'],
    ['US5015', 'recoverable', 'lowMemory'],
    ['US6020', 'recoverable', 'storageThrottling'],
    ['US3051', 'recoverable', 'relayUnreachable'],
    ['US5122', 'unrecoverable', 'brokenDiskChain'],
    ['US3011', 'unrecoverable', 'invalidReplicaState'],
    ['US5111', 'unrecoverable', 'authentication'],
    ['US6021', 'unrecoverable', 'authorization'],
    ['US5005', 'unrecoverable', 'vmNotFound'],
  ];
  for (const [code, kind, cause] of expected) {
    const found = classify(new UnderstudyError({ code, message: '', recommendedAction: '' }));
    assert.deepEqual([found.kind, found.cause], [kind, cause], code);
  }
});

test('an error is classified by its code also after it travelled as text; what nobody foresaw is tried again', () => {
  const error = new UnderstudyError({ code: 'US5005', message: 'no VM', recommendedAction: '' });
  assert.equal(classify(failureOf(error)).kind, 'unrecoverable');
  for (const unforeseen of [new Error('EIO'), 'text', undefined, { code: 'US9999' }, { code: 7 }, { code: 'ENOENT' }]) {
    assert.equal(classify(unforeseen).kind, 'recoverable');
  }
});
