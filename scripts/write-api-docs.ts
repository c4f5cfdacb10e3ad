import { writeFileSync } from 'node:fs';
import { apiReference } from '../functions/arm/api-reference.js';

/** `npm run docs`: writes docs/api.md from the operations table. */
writeFileSync('docs/api.md', apiReference());
