import { registrationKeyOperations } from '../understudy-api/registration-keys.js';
import { cloudOperations } from './clouds.js';
import { containerMappingOperations } from './container-mappings.js';
import { fabricOperations } from './fabrics.js';
import { jobOperations } from './jobs.js';
import { longRunningOperations } from './long-running.js';
import type { Operation } from './operation.js';
import { policyOperations } from './policies.js';
import { vaultOperations } from './vaults.js';

/** Every operation of the ARM surface and of /understudy/v1: routes, docs/api.md and the conformance tests derive from it. */
export const operations: readonly Operation[] = [
  ...vaultOperations,
  ...fabricOperations,
  ...cloudOperations,
  ...policyOperations,
  ...containerMappingOperations,
  ...jobOperations,
  ...longRunningOperations,
  ...registrationKeyOperations,
];
