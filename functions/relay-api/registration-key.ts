import { createHash, randomBytes } from 'node:crypto';
import { insert } from '../../core/records/access.js';
import { rows, type RegistrationKey } from '../../core/records/rows.js';
import type { App } from '../app.js';

/** Site Recovery's keys live as long. */
export const registrationKeyLifeHours = 5 * 24;

export const secretHash = (secret: string): string => createHash('sha256').update(secret).digest('hex');

/** Draws a key for one relay of the vault, or of one Hyper-V site in it. The key is shown this once; the table keeps its hash. */
export async function drawRegistrationKey(
  app: App,
  of: Pick<RegistrationKey, 'vaultId' | 'vaultCreatedAt' | 'siteName'>,
  endpoint: string,
): Promise<{ registrationKey: string; expiresAt: string }> {
  const secret = randomBytes(32).toString('base64url');
  // System time: a key's life is a matter of security.
  const expiresAt = app.systemNow().add({ hours: registrationKeyLifeHours }).toString();
  const row = rows.registrationKey(secretHash(secret));
  await app.table.transact(row.partition, [insert(row, { ...of, expiresAt })]);
  const key = JSON.stringify({ endpoint, vaultId: of.vaultId, secret, expiresAt });
  return { registrationKey: Buffer.from(key).toString('base64url'), expiresAt };
}
