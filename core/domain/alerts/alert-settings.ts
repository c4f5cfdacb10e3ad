/** Who hears of alerts: one row a vault. */
export interface AlertSettings {
  emailAddresses: string[];
  /** ARM's own word, kept and given back: who owns a subscription Understudy does not know. */
  sendToOwners: string;
  locale: string;
  /** Addresses that alerts are posted to as JSON. */
  webhookUrls: string[];
}

export const noAlerts: AlertSettings = { emailAddresses: [], sendToOwners: 'DoNotSend', locale: '', webhookUrls: [] };
