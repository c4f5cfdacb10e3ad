import { SiteRecoveryManagementClient } from '@azure/arm-recoveryservices-siterecovery';

/** The official client, unmodified but for its bearer policy, which insists on TLS. */
export function sdkClientOf(origin: string): SiteRecoveryManagementClient {
  const made = new SiteRecoveryManagementClient(
    { getToken: async () => ({ token: 'none', expiresOnTimestamp: Date.now() + 3_600_000 }) },
    '00000000-0000-0000-0000-000000000000',
    { endpoint: origin, allowInsecureConnection: true },
  );
  made.pipeline.removePolicy({ name: 'bearerTokenAuthenticationPolicy' });
  return made;
}

export async function collect<T>(pages: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const entry of pages) all.push(entry);
  return all;
}
