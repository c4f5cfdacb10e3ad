import { testFaults } from '../support/fault/fault-tests.js';

testFaults(['mixed'], { first: 1, count: 10 });
