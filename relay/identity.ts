import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { z } from 'zod';
import { readFileIfThere, writeFileDurably } from './durable-file.js';
import { AlreadyRegisteredError, IdentityDamagedError, NotRegisteredError } from './errors.js';
import type { RegistrationKey } from './registration-key.js';

/** What the relay is: its key pair and, once the app has answered, its name there. The file is for its owner's eyes only. */
const identityFile = z.object({
  version: z.literal(1),
  endpoint: z.string().min(1),
  vaultId: z.string().min(1),
  /** SHA-256 hex of the registration key's secret: tells whether a key is the one that this identity was made for. */
  keySecretHash: z.string(),
  /** Ed25519, PKCS #8, DER, base64. */
  privateKey: z.string().min(1),
  registered: z.object({ relayId: z.string(), fabricName: z.string(), registeredAt: z.string() }).optional(),
});
export type Identity = z.infer<typeof identityFile>;
export type RegisteredIdentity = Identity & { registered: NonNullable<Identity['registered']> };

const ownerOnly = 0o600;

/** A stored identity, or undefined where none was made yet. */
async function readIdentity(file: string): Promise<Identity | undefined> {
  const text = await readFileIfThere(file);
  if (text === undefined) return undefined;
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new IdentityDamagedError(file, 'it is not JSON');
  }
  const parsed = identityFile.safeParse(json);
  if (!parsed.success) {
    const fields = parsed.error.issues.map((issue) => issue.path.join('.') || 'the whole').join(', ');
    throw new IdentityDamagedError(file, `missing or wrong in it: ${fields}`);
  }
  return parsed.data;
}

export async function readRegisteredIdentity(file: string): Promise<RegisteredIdentity> {
  const identity = await readIdentity(file);
  if (identity?.registered === undefined) throw new NotRegisteredError(file);
  return { ...identity, registered: identity.registered };
}

export async function saveIdentity(file: string, identity: Identity): Promise<void> {
  await writeFileDurably(file, `${JSON.stringify(identity, undefined, 2)}\n`, ownerOnly);
}

/**
 * The identity to register with: the stored one where it was made for the same key, so that repeating a registration sends
 * the same public key; else a new one, on disk before the app hears of it.
 */
export async function identityForKey(
  file: string,
  key: RegistrationKey,
  options: { replace: boolean },
): Promise<Identity> {
  const keySecretHash = createHash('sha256').update(key.secret).digest('hex');
  const stored = options.replace ? undefined : await readIdentity(file);
  if (stored?.keySecretHash === keySecretHash) return { ...stored, endpoint: key.endpoint };
  if (stored?.registered !== undefined) throw new AlreadyRegisteredError(file, stored.endpoint, stored.vaultId);
  const privateKey = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'der' });
  const identity: Identity = {
    version: 1,
    endpoint: key.endpoint,
    vaultId: key.vaultId,
    keySecretHash,
    privateKey: privateKey.toString('base64'),
  };
  await saveIdentity(file, identity);
  return identity;
}

export function privateKeyOf(identity: Identity, file: string): KeyObject {
  try {
    return createPrivateKey({ key: Buffer.from(identity.privateKey, 'base64'), type: 'pkcs8', format: 'der' });
  } catch {
    throw new IdentityDamagedError(file, 'its private key cannot be read');
  }
}

/** SubjectPublicKeyInfo, DER, base64: as the wire wants it. */
export function publicKeyOf(privateKey: KeyObject): string {
  return createPublicKey(privateKey).export({ type: 'spki', format: 'der' }).toString('base64');
}
