import { testFaults } from '../support/fault/fault-tests.js';

testFaults(['relayKilled', 'appKilled', 'siteKilled', 'relayDiskFull', 'activityTwice'], { first: 1, count: 2 });
