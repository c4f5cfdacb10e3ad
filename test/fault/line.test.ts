import { testFaults } from '../support/fault/fault-tests.js';

testFaults(['networkCut', 'networkSlow', 'lateMessages', 'sasExpiry', 'clockSkew'], { first: 1, count: 2 });
