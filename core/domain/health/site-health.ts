import type { HealthReason } from './health-reason.js';
import type { ReplicationEvent } from './health-events.js';

/** A site as far as its health goes. */
export interface SiteContact {
  fabricName: string;
  name: string;
  lastHeartbeatAt: string;
}

/** Why a site is critical whose relay was not heard of for long. */
export const relaySilent = ({ name, lastHeartbeatAt }: SiteContact): HealthReason => ({
  level: 'Critical',
  code: 'US1112',
  summary: 'The relay is silent',
  message: `the relay of ${name} was last heard of at ${lastHeartbeatAt}`,
  possibleCauses: 'The relay is stopped, or its way out to Understudy is cut.',
  recommendedAction:
    'Look at the relay and its way to Azure; it goes on by itself when it reaches Understudy again. If the site is lost, fail over.',
  at: lastHeartbeatAt,
});

/** That a site's relay fell silent, or is heard of again. */
export function contactEvent(site: SiteContact, isConnected: boolean, at: string): Omit<ReplicationEvent, 'eventName'> {
  const { code, summary, message, possibleCauses, recommendedAction } = relaySilent(site);
  const about = {
    eventType: 'ServerHealth' as const,
    itemId: site.fabricName,
    vmName: site.name,
    fabricName: site.fabricName,
    containerName: '',
    code,
    at,
  };
  if (!isConnected) {
    return {
      ...about,
      kind: 'raised',
      severity: 'Critical',
      description: summary,
      message,
      possibleCauses,
      recommendedAction,
    };
  }
  return {
    ...about,
    kind: 'cleared',
    severity: 'OK',
    description: 'The relay is heard of again',
    message: `the relay of ${site.name} is heard of again`,
    possibleCauses: '',
    recommendedAction: 'Nothing.',
  };
}
