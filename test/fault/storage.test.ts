import { testFaults } from '../support/fault/fault-tests.js';

testFaults(['storageBefore', 'storageAfter', 'storageTimeouts', 'storageLate', 'rowChanged'], { first: 1, count: 2 });
