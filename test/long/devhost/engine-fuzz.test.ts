import { test } from 'node:test';
import { fuzzEngine } from '../../support/durable/fuzz-engine.js';

const seedCount = 60;

for (let seed = 1000; seed < 1000 + seedCount; seed++) {
  test(`random orchestrations of seed ${seed} end as expected`, () =>
    fuzzEngine(seed, { faults: seed % 2 === 0, replayEachTurn: seed % 3 === 0 }));
}
