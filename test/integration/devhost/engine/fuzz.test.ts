import { test } from 'node:test';
import { fuzzEngine } from '../../../support/durable/fuzz-engine.js';

test('random orchestrations end as expected', () => fuzzEngine(11, { faults: false, replayEachTurn: false }));
test('they do so on a faulty store', () => fuzzEngine(22, { faults: true, replayEachTurn: false }));
test('they do so when every turn is replayed from a faulty store', () =>
  fuzzEngine(33, { faults: true, replayEachTurn: true }));
