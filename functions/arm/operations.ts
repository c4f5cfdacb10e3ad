import { alertWebhookOperations } from '../understudy-api/alert-webhooks.js';
import { pointExportOperations } from '../understudy-api/point-exports.js';
import { pauseResumeOperations } from '../understudy-api/pause-resume.js';
import { publicAddressOperations } from '../understudy-api/public-address.js';
import { registrationKeyOperations } from '../understudy-api/registration-keys.js';
import { replicationSettingsOperations } from '../understudy-api/replication-settings.js';
import { replicationStatisticsOperations } from '../understudy-api/replication-statistics.js';
import { alertSettingOperations } from './alert-settings.js';
import { cloudOperations } from './clouds.js';
import { containerMappingOperations } from './container-mappings.js';
import { discoveryOperation } from './discovery.js';
import { eventOperations } from './events.js';
import { fabricActions } from './fabric-actions.js';
import { hyperVSiteOperations } from './hyper-v-sites.js';
import { fabricOperations } from './fabrics.js';
import { itemPropertyOperations } from './item-properties.js';
import { jobActions } from './job-actions.js';
import { jobOperations } from './jobs.js';
import { longRunningOperations } from './long-running.js';
import { networkMappingOperations } from './network-mappings.js';
import type { Operation } from './operation.js';
import { optionalOperations } from './optional-resources.js';
import { policyOperations } from './policies.js';
import { protectableItemOperations } from './protectable-items.js';
import { failoverCancelOperations } from './failover-cancel.js';
import { failoverActions } from './failover-actions.js';
import { testFailoverActions } from './test-failover-actions.js';
import { protectedItemActions } from './protected-item-actions.js';
import { protectedItemOperations } from './protected-items.js';
import { recoveryPlanActions } from './recovery-plan-actions.js';
import { recoveryPlanOperations } from './recovery-plans.js';
import { recoveryPointOperations } from './recovery-points.js';
import { vaultHealthOperations } from './vault-health.js';
import { vaultOperations } from './vaults.js';

const listed: readonly Operation[] = [
  ...vaultOperations,
  ...fabricOperations,
  ...hyperVSiteOperations,
  ...fabricActions,
  ...cloudOperations,
  ...protectableItemOperations,
  ...policyOperations,
  ...containerMappingOperations,
  ...networkMappingOperations,
  ...protectedItemOperations,
  ...protectedItemActions,
  ...itemPropertyOperations,
  ...failoverActions,
  ...testFailoverActions,
  ...failoverCancelOperations,
  ...recoveryPointOperations,
  ...recoveryPlanOperations,
  ...recoveryPlanActions,
  ...jobOperations,
  ...jobActions,
  ...eventOperations,
  ...alertSettingOperations,
  ...vaultHealthOperations,
  ...optionalOperations,
  ...longRunningOperations,
  ...registrationKeyOperations,
  ...pointExportOperations,
  ...pauseResumeOperations,
  ...publicAddressOperations,
  ...replicationSettingsOperations,
  ...alertWebhookOperations,
  ...replicationStatisticsOperations,
];

/** Every operation of the ARM surface and of /understudy/v1: routes, docs/api.md and the conformance tests derive from it. */
export const operations: readonly Operation[] = [discoveryOperation(() => operations), ...listed];
