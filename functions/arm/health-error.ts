import type { HealthError } from '@azure/arm-recoveryservices-siterecovery';
import type { HealthReason } from '../../core/domain/health/health-reason.js';
import type { Wire } from './wire.js';

/** What ails something, as ARM has it. Nothing of it is resolved by a call: it goes when what it tells of is over. */
export const healthErrorToWire = (
  reason: Omit<HealthReason, 'level'> & { level: 'OK' | HealthReason['level'] },
  about: {
    entityId: string;
    errorType: string;
    errorCategory?: 'Replication' | 'FabricInfrastructure' | 'Configuration';
  },
): Wire<HealthError> => ({
  errorSource: 'Understudy',
  errorType: about.errorType,
  errorLevel: reason.level === 'Critical' ? 'Error' : reason.level,
  errorCategory: about.errorCategory ?? 'Replication',
  errorCode: reason.code,
  summaryMessage: reason.summary,
  errorMessage: reason.message,
  possibleCauses: reason.possibleCauses,
  recommendedAction: reason.recommendedAction,
  creationTimeUtc: reason.at,
  entityId: about.entityId,
  errorId: `${about.entityId}-${reason.code}`,
  customerResolvability: 'NotAllowed',
  innerHealthErrors: [],
});
