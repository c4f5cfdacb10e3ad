import { applyReceived } from './apply-received.js';
import { changeRecoveryPoint } from './change-recovery-point.js';
import { commitFailback } from './commit-failback.js';
import { commitFailover } from './commit-failover.js';
import { digestReplica } from './digest-replica.js';
import { disableProtection } from './disable-protection.js';
import { enableProtection } from './enable-protection.js';
import { failback } from './failback.js';
import { finalizeProtection } from './finalize-protection.js';
import { applyResynchronization, initialReplication } from './initial-replication.js';
import type { Workflow } from './orchestrator.js';
import { plannedFailover } from './planned-failover.js';
import { replicationLoop } from './replication-loop.js';
import { resynchronize } from './resynchronize.js';
import { reverseReplicate } from './reverse-replicate.js';
import { runOperation } from './run-operation.js';
import { testFailover, testFailoverCleanUp } from './test-failover.js';
import { unplannedFailover } from './unplanned-failover.js';

/** Every workflow of the app, ready to register. */
export const workflows: readonly Workflow[] = [
  enableProtection,
  initialReplication,
  finalizeProtection,
  replicationLoop,
  resynchronize,
  digestReplica,
  applyResynchronization,
  plannedFailover,
  unplannedFailover,
  applyReceived,
  commitFailover,
  failback,
  commitFailback,
  reverseReplicate,
  disableProtection,
  changeRecoveryPoint,
  testFailover,
  testFailoverCleanUp,
  runOperation,
];
