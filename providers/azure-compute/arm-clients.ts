import { ComputeManagementClient } from '@azure/arm-compute';
import { NetworkManagementClient } from '@azure/arm-network';

export interface ArmClients {
  compute: ComputeManagementClient;
  network: NetworkManagementClient;
}

export type ArmCredential = ConstructorParameters<typeof ComputeManagementClient>[0];

/** The SDKs' clients, one pair a subscription. `endpoint` is that of a stand-in for Azure. */
export function openArmClients(credential: ArmCredential, endpoint?: string): (subscriptionId: string) => ArmClients {
  const open = new Map<string, ArmClients>();
  const options = {
    // The provider tries again by itself, within the time that it has.
    retryOptions: { maxRetries: 0 },
    ...(endpoint !== undefined && { endpoint, allowInsecureConnection: endpoint.startsWith('http:') }),
  };
  return (subscriptionId) => {
    let clients = open.get(subscriptionId);
    if (!clients) {
      clients = {
        compute: new ComputeManagementClient(credential, subscriptionId, options),
        network: new NetworkManagementClient(credential, subscriptionId, options),
      };
      open.set(subscriptionId, clients);
    }
    return clients;
  };
}
