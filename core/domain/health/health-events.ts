import type { ProtectedItem } from '../protected-item/protected-item.js';
import type { Health, HealthLevel, HealthReason, ToldHealth } from './health-reason.js';

/** A change of an item's or a site's health, or a job that failed, as it is kept and told. */
export interface ReplicationEvent {
  /** Sorts newest first. */
  eventName: string;
  kind: 'raised' | 'cleared' | 'levelChanged';
  /** Absent: the health of a virtual machine. */
  eventType?: 'ServerHealth' | 'JobFailure';
  /** The one that failed. */
  job?: { jobName: string; friendlyName: string };
  /** A site's is its fabric's name. */
  itemId: string;
  /** What it is about, as operators call it. */
  vmName: string;
  fabricName: string;
  containerName: string;
  severity: 'OK' | 'Warning' | 'Critical';
  /** The reason's code; `VmHealth` where the level changed. */
  code: string;
  description: string;
  message: string;
  possibleCauses: string;
  recommendedAction: string;
  /** Business time at which it was found. */
  at: string;
}

export const levelChangedCode = 'VmHealth';

const notReplicated: ToldHealth = { level: 'None', codes: [] };

/**
 * The events that tell the way from the health told last to the one of now: one where the level changed, then one for each
 * reason that came or went. None where both are the same.
 */
export function healthEvents(
  item: ProtectedItem,
  health: Health,
  at: string,
): { told: ToldHealth; events: Omit<ReplicationEvent, 'eventName'>[] } {
  const before = item.health ?? notReplicated;
  const { itemId, vmName, fabricName, containerName } = item;
  const about = { itemId, vmName, fabricName, containerName, at };
  const raised = health.reasons.filter(({ code }) => !before.codes.includes(code));
  const cleared = before.codes.filter((code) => !health.reasons.some((reason) => reason.code === code));
  return {
    told: { level: health.level, codes: health.reasons.map(({ code }) => code) },
    events: [
      ...(health.level === before.level ? [] : [{ ...about, ...levelEvent(before.level, health.level) }]),
      ...raised.map((reason) => ({ ...about, ...raisedEvent(reason) })),
      ...cleared.map((code) => ({ ...about, ...clearedEvent(code) })),
    ],
  };
}

type Told = Omit<ReplicationEvent, 'eventName' | 'itemId' | 'vmName' | 'fabricName' | 'containerName' | 'at'>;

const raisedEvent = ({ level, code, summary, message, possibleCauses, recommendedAction }: HealthReason): Told => ({
  kind: 'raised',
  severity: level,
  code,
  description: summary,
  message,
  possibleCauses,
  recommendedAction,
});

const clearedEvent = (code: string): Told => ({
  kind: 'cleared',
  severity: 'OK',
  code,
  description: `${code} no longer holds`,
  message: `what ${code} told is over`,
  possibleCauses: '',
  recommendedAction: 'Nothing.',
});

const levelWords: Record<HealthLevel, string> = {
  None: 'not applicable: it is not replicated',
  Normal: 'OK',
  Warning: 'Warning',
  Critical: 'Critical',
};

const levelEvent = (from: HealthLevel, to: HealthLevel): Told => ({
  kind: 'levelChanged',
  severity: to === 'Critical' || to === 'Warning' ? to : 'OK',
  code: levelChangedCode,
  description: `Virtual machine health is ${levelWords[to]}`,
  message: `the health of the virtual machine went from ${from} to ${to}`,
  possibleCauses: '',
  recommendedAction: to === 'Critical' || to === 'Warning' ? 'See the events beside this one.' : 'Nothing.',
});
