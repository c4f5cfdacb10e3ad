import { wholeLifeOver } from '../../support/arm/whole-life.js';

wholeLifeOver('https');
