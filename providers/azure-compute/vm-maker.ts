import pLimit from 'p-limit';
import type { NetworkInterface } from '@azure/arm-network';
import type { NicPlace } from '../../core/domain/failover/nics.js';
import { subnetNamed } from '../../core/domain/failover/placement.js';
import type { CloudVmSpecification } from '../../core/ports/cloud-compute.js';
import type { CloudInventory, CloudNetwork } from '../../core/ports/cloud-inventory.js';
import type { ArmParts } from './arm-parts.js';
import { diskRequest, networkInterfaceRequest, publicAddressRequest, type VmRequest } from './arm-requests.js';
import { ensure } from './ensure.js';
import type { Patience } from './patience.js';
import { diskName } from './vm-place.js';

/** Imports under way at once: Azure's limit on writes of a subscription serves other failovers as well. */
const importsAtOnce = 4;

/** Makes what a VM consists of, each part at most once. */
export class VmMaker {
  constructor(
    private readonly request: VmRequest,
    private readonly inventory: CloudInventory,
    private readonly parts: ArmParts,
    private readonly patience: Patience,
  ) {}

  /**
   * The primary network interface first: a full subnet is the likeliest refusal, and leaves nothing behind then. Where there is no
   * network the OS disk is first. What is first tells what the VM is, should the run break off.
   */
  async makeParts(): Promise<void> {
    const { disks, networkId, nics, publicAddress } = this.request.specification;
    const osDisks = disks.filter(({ isOsDisk }) => isOsDisk);
    if (networkId === undefined) {
      await this.makeDisks(osDisks);
    } else {
      const network = await this.inventory.network(networkId);
      for (const [index, nic] of nics.entries()) {
        const made = await this.makeNetworkInterface(network, nic, index);
        if (index === 0 && publicAddress === true) await this.makePublicAddress(made, nic);
      }
    }
    await this.makeDisks(networkId === undefined ? disks.filter(({ isOsDisk }) => !isOsDisk) : disks);
  }

  private async makeNetworkInterface(network: CloudNetwork, nic: NicPlace, index: number): Promise<NetworkInterface> {
    const { parts, patience, request } = this;
    const subnet = subnetNamed(nic.subnetName, network.subnets);
    if (!subnet) throw new Error(`network ${network.armId} has no subnets`);
    const subnetId = `${network.armId}/subnets/${subnet.name}`;
    const wanted = networkInterfaceRequest(request, nic, subnetId);
    return ensure(parts.networkInterface(index), wanted, request.place, patience);
  }

  /** The primary interface is put again, as it is, with the address. */
  private async makePublicAddress(made: NetworkInterface, nic: NicPlace): Promise<void> {
    const { parts, patience, request } = this;
    const part = parts.networkInterface(0);
    const { id } = await ensure(parts.publicAddress, publicAddressRequest(request), request.place, patience);
    const [configuration] = made.ipConfigurations ?? [];
    const subnetId = configuration?.subnet?.id;
    if (id === undefined || subnetId === undefined) throw new Error(`${part.title} has no subnet`);
    if (configuration?.publicIPAddress?.id?.toLowerCase() === id.toLowerCase()) return;
    await patience.insist(`giving ${part.title} a public address`, () =>
      part.put(networkInterfaceRequest(request, nic, subnetId, id)),
    );
  }

  /** All are tried before the first failure is told: none is left under way that nobody waits for. */
  private async makeDisks(disks: CloudVmSpecification['disks']): Promise<void> {
    const { place } = this.request;
    const limit = pLimit(importsAtOnce);
    const outcomes = await Promise.allSettled(
      disks.map((disk) =>
        limit(async () => {
          const account = await this.inventory.storageAccount(disk.blob.storageAccountId);
          const part = this.parts.disk(diskName(place, disk));
          return ensure(part, diskRequest(this.request, disk, account), place, this.patience);
        }),
      ),
    );
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failed) throw failed.reason;
  }
}
