import { hostname } from 'node:os';
import { relayProtocolVersion } from '../core/domain/relay-protocol/wire.js';
import type { HypervisorHost } from '../core/ports/hypervisor-host.js';
import { postRegistration } from './app-client.js';
import { identityForKey, privateKeyOf, publicKeyOf, saveIdentity, type RegisteredIdentity } from './identity.js';
import { parseRegistrationKey } from './registration-key.js';
import { relayVersion } from './version.js';

/**
 * Registers this relay by a one-time key. The key pair is on disk before the app hears of it, so that a registration that
 * was cut anywhere can be repeated with the same key and gives the same answer.
 */
export async function registerRelay(options: {
  keyFile: string;
  keyText: string;
  identityFile: string;
  host: Pick<HypervisorHost, 'inventory'>;
  replace: boolean;
}): Promise<RegisteredIdentity> {
  const key = parseRegistrationKey(options.keyFile, options.keyText, new Date());
  // A site that cannot be read must not cost a key.
  const inventory = await options.host.inventory();
  const identity = await identityForKey(options.identityFile, key, { replace: options.replace });
  const { relayId, vaultId, fabricName } = await postRegistration(key.endpoint, {
    protocolVersion: relayProtocolVersion,
    secret: key.secret,
    publicKey: publicKeyOf(privateKeyOf(identity, options.identityFile)),
    relayVersion,
    machineName: hostname(),
    inventory,
  });
  const registeredAt = identity.registered?.registeredAt ?? new Date().toISOString();
  const registered = { ...identity, vaultId, registered: { relayId, fabricName, registeredAt } };
  await saveIdentity(options.identityFile, registered);
  return registered;
}
