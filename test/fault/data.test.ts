import { testFaults } from '../support/fault/fault-tests.js';

testFaults(['logCorrupt', 'blobDamaged', 'hostVolume'], { first: 1, count: 2 });
