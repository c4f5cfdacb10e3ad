export type HealthLevel = 'None' | 'Normal' | 'Warning' | 'Critical';

export interface HealthReason {
  level: 'Warning' | 'Critical';
  /** One reason at most has it. */
  code: string;
  summary: string;
  message: string;
  possibleCauses: string;
  recommendedAction: string;
  /** Since when, or what it was found by. */
  at: string;
}

export interface Health {
  level: HealthLevel;
  reasons: HealthReason[];
}

/** What of an item's health was told by events so far. */
export interface ToldHealth {
  level: HealthLevel;
  codes: string[];
}
