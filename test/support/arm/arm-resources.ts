import type { ReplicaBlob } from '../../../core/domain/protected-item/protected-item.js';
import type { CloudNetwork, CloudStorageAccount } from '../../../core/ports/cloud-inventory.js';
import type { ReplicaStore } from '../../../core/ports/replica-store.js';
import { usableAddresses } from '../../../providers/local-compute/addresses.js';
import {
  accessUri,
  ArmRefusal,
  notFound,
  powerStatuses,
  type Resource,
  type ResourceType,
  type WireDisk,
  type WireNic,
  type WirePublicAddress,
  type WireResources,
  type WireSnapshot,
  type WireVm,
} from './arm-answers.js';

/** What an accepted request does when its operation ends; the result is what its Location answers. */
export type Effect = () => Promise<unknown>;

const diskContainer = 'managed-disks';

/** The resources of one subscription and what Azure lets happen to them. Disks hold the bytes of the blobs they were made of. */
export class ArmResources {
  private readonly byType: { [Type in ResourceType]: Map<string, WireResources[Type]> } = {
    disks: new Map(),
    snapshots: new Map(),
    virtualMachines: new Map(),
    networkInterfaces: new Map(),
    publicIPAddresses: new Map(),
  };
  /** Of virtual machines; one that was never up has none. */
  private readonly power = new Map<string, string>();
  private readonly contents = new Map<string, { blob: ReplicaBlob; snapshotId: string }>();
  private publicAddresses = 0;

  constructor(
    private readonly cloud: {
      replicas: ReplicaStore;
      accounts: readonly CloudStorageAccount[];
      networks: readonly CloudNetwork[];
    },
  ) {}

  /** `type/name` of all that is there. */
  names(): string[] {
    return Object.entries(this.byType).flatMap(([type, resources]) =>
      [...resources.values()].map(({ name }) => `${type}/${name}`),
    );
  }

  get<Type extends ResourceType>(type: Type, id: string): WireResources[Type] | undefined {
    return this.byType[type].get(id.toLowerCase());
  }

  /** As a GET answers it. */
  view(type: ResourceType, resource: Resource, expand: string | null): unknown {
    if (type !== 'virtualMachines' || expand?.toLowerCase() !== 'instanceview') return resource;
    const statuses = powerStatuses(this.power.get(key(resource)), resource.properties.provisioningState ?? '');
    return { ...resource, properties: { ...resource.properties, instanceView: { statuses } } };
  }

  /** Takes the request and shows its resource at once; `Effect` ends it. */
  put(type: ResourceType, wanted: Resource): Effect {
    switch (type) {
      case 'disks':
        return this.putDisk(wanted as WireDisk);
      case 'snapshots':
        return this.putSnapshot(wanted as WireSnapshot);
      case 'networkInterfaces':
        return this.putNic(wanted as WireNic);
      case 'publicIPAddresses':
        return this.putPublicAddress(wanted as WirePublicAddress);
      case 'virtualMachines':
        return this.putVm(wanted as WireVm);
    }
  }

  post(type: ResourceType, id: string, action: string): Effect {
    if (type === 'snapshots') {
      const snapshot = this.existing('snapshots', id);
      const content = this.contents.get(id.toLowerCase());
      return async () => {
        snapshot.properties.diskState = action === 'beginGetAccess' ? 'ActiveSAS' : 'Unattached';
        if (action !== 'beginGetAccess' || !content) return undefined;
        return accessUri((await this.cloud.replicas.grantRead(content.blob, content.snapshotId, 3600)).url);
      };
    }
    const vm = this.existing('virtualMachines', id);
    const power = { start: 'running', deallocate: 'deallocated' }[action];
    if (power === undefined) throw new ArmRefusal(404, 'NotFound', `no action ${action}`);
    return async () => {
      vm.properties.provisioningState = 'Succeeded';
      this.power.set(id.toLowerCase(), power);
    };
  }

  delete(type: ResourceType, id: string): Effect {
    const resource = this.existing(type, id);
    if (type === 'disks' && resource.managedBy !== undefined) {
      throw new ArmRefusal(
        409,
        'OperationNotAllowed',
        `Disk ${resource.name} is attached to VM ${resource.managedBy}.`,
      );
    }
    if (type === 'networkInterfaces' && this.existing('networkInterfaces', id).properties.virtualMachine) {
      throw new ArmRefusal(400, 'NicInUse', `Network Interface ${id} is used by existing resource.`);
    }
    if (type === 'publicIPAddresses' && this.existing('publicIPAddresses', id).properties.ipConfiguration) {
      throw new ArmRefusal(400, 'PublicIPAddressCannotBeDeleted', `Public IP address ${id} can not be deleted.`);
    }
    if (type === 'snapshots' && this.existing('snapshots', id).properties.diskState === 'ActiveSAS') {
      throw new ArmRefusal(409, 'OperationNotAllowed', `There is an active shared access signature for ${id}.`);
    }
    resource.properties.provisioningState = 'Deleting';
    return async () => {
      this.byType[type].delete(id.toLowerCase());
      if (type === 'virtualMachines') this.detach(id);
      if (type === 'networkInterfaces') this.unassign(id);
      if (type === 'disks') await this.cloud.replicas.deleteDisk(diskBlob(id));
      const content = this.contents.get(id.toLowerCase());
      if (content) await this.cloud.replicas.deleteSnapshot(content.blob, content.snapshotId);
      this.contents.delete(id.toLowerCase());
    };
  }

  private existing<Type extends ResourceType>(type: Type, id: string): WireResources[Type] {
    const found = this.get(type, id);
    if (!found) throw notFound(type, id.split('/').at(-1) ?? '', id.split('/')[4] ?? '');
    return found;
  }

  private putDisk(wanted: WireDisk): Effect {
    const { creationData } = wanted.properties;
    const found = this.get('disks', wanted.id);
    if (found && JSON.stringify(found.properties.creationData) !== JSON.stringify(creationData)) {
      throw new ArmRefusal(409, 'PropertyChangeNotAllowed', "Changing property 'creationData' is not allowed.");
    }
    const source = this.blobAt(creationData.sourceUri ?? '');
    if (creationData.createOption !== 'Import' || creationData.storageAccountId === undefined || !source) {
      throw new ArmRefusal(400, 'InvalidParameter', `The source ${creationData.sourceUri} cannot be imported.`);
    }
    this.show('disks', wanted, { diskState: 'Unattached', provisioningState: 'Updating' });
    return async () => {
      const { replicas } = this.cloud;
      const properties = await replicas.properties(source);
      if (!properties) throw new ArmRefusal(404, 'BlobNotFound', `Blob ${creationData.sourceUri} was not found.`);
      const { snapshotId } = await replicas.createSnapshot(source, {
        ifMatch: properties.etag,
        fence: properties.fence,
      });
      while (!(await replicas.copySnapshot(source, snapshotId, diskBlob(wanted.id))).finished);
      await replicas.deleteSnapshot(source, snapshotId);
      this.settle('disks', wanted.id);
    };
  }

  private putSnapshot(wanted: WireSnapshot): Effect {
    const { createOption, sourceResourceId = '' } = wanted.properties.creationData;
    const disk = this.get('disks', sourceResourceId);
    if (createOption !== 'Copy' || !disk) {
      throw new ArmRefusal(404, 'NotFound', `The source ${sourceResourceId} was not found.`);
    }
    const known = this.contents.get(wanted.id.toLowerCase());
    this.show('snapshots', wanted, { diskState: 'Unattached', provisioningState: 'Updating' });
    return async () => {
      if (!known) {
        const blob = diskBlob(disk.id);
        const { etag = '', fence = { epoch: 0, cycle: 0 } } = (await this.cloud.replicas.properties(blob)) ?? {};
        const { snapshotId } = await this.cloud.replicas.createSnapshot(blob, { ifMatch: etag, fence });
        this.contents.set(wanted.id.toLowerCase(), { blob, snapshotId });
      }
      this.settle('snapshots', wanted.id);
    };
  }

  private putNic(wanted: WireNic): Effect {
    const found = this.get('networkInterfaces', wanted.id);
    const [configuration] = wanted.properties.ipConfigurations;
    if (!configuration)
      throw new ArmRefusal(400, 'InvalidRequestFormat', 'A network interface needs an IP configuration.');
    const { properties } = configuration;
    const before = found?.properties.ipConfigurations[0]?.properties;
    properties.privateIPAddress =
      before?.privateIPAddress ?? this.freeAddress(properties.subnet?.id ?? '', properties.privateIPAddress);
    configuration.id = `${wanted.id}/ipConfigurations/${configuration.name}`;
    this.unassign(wanted.id);
    const publicId = properties.publicIPAddress?.id;
    if (publicId !== undefined) {
      const address = this.existing('publicIPAddresses', publicId);
      if (address.properties.ipConfiguration) {
        throw new ArmRefusal(400, 'PublicIPAddressInUse', `Public IP address ${publicId} is in use.`);
      }
      address.properties.ipConfiguration = { id: configuration.id };
    }
    if (found?.properties.virtualMachine) wanted.properties.virtualMachine = found.properties.virtualMachine;
    this.show('networkInterfaces', wanted, { provisioningState: 'Updating' });
    return async () => this.settle('networkInterfaces', wanted.id);
  }

  private freeAddress(subnetId: string, wanted?: string): string {
    const [, networkId = '', subnetName = ''] = /^(.*)\/subnets\/([^/]+)$/.exec(subnetId) ?? [];
    const network = this.cloud.networks.find(({ armId }) => armId.toLowerCase() === networkId.toLowerCase());
    const subnet = network?.subnets.find(({ name }) => name.toLowerCase() === subnetName.toLowerCase());
    if (!subnet) throw new ArmRefusal(400, 'InvalidResourceReference', `Resource ${subnetId} was not found.`);
    const taken = new Set(
      [...this.byType.networkInterfaces.values()].map(
        (nic) => nic.properties.ipConfigurations[0]?.properties.privateIPAddress,
      ),
    );
    if (wanted !== undefined) {
      if (taken.has(wanted)) {
        throw new ArmRefusal(400, 'PrivateIPAddressInUse', `IP address ${wanted} is in use.`);
      }
      if (![...usableAddresses(subnet.addressPrefix)].includes(wanted)) {
        throw new ArmRefusal(400, 'PrivateIPAddressNotInSubnet', `IP address ${wanted} is not in ${subnet.name}.`);
      }
      return wanted;
    }
    for (const address of usableAddresses(subnet.addressPrefix)) if (!taken.has(address)) return address;
    throw new ArmRefusal(
      400,
      'SubnetIsFull',
      `Subnet ${subnet.name} with address prefix ${subnet.addressPrefix} does not have enough capacity for 1 IP addresses.`,
    );
  }

  private putPublicAddress(wanted: WirePublicAddress): Effect {
    const found = this.get('publicIPAddresses', wanted.id);
    wanted.properties.ipAddress = found?.properties.ipAddress ?? `203.0.113.${++this.publicAddresses}`;
    if (found?.properties.ipConfiguration) wanted.properties.ipConfiguration = found.properties.ipConfiguration;
    this.show('publicIPAddresses', wanted, { provisioningState: 'Updating' });
    return async () => this.settle('publicIPAddresses', wanted.id);
  }

  private putVm(wanted: WireVm): Effect {
    const { storageProfile, networkProfile, osProfile, securityProfile } = wanted.properties;
    const osDisk = storageProfile?.osDisk;
    const diskIds = [osDisk, ...(storageProfile?.dataDisks ?? [])].map((disk) => disk?.managedDisk?.id ?? '');
    const nicIds = (networkProfile?.networkInterfaces ?? []).map(({ id }) => id ?? '');
    if (nicIds.length === 0) throw new ArmRefusal(400, 'InvalidParameter', 'networkProfile needs a network interface.');
    const disks = diskIds.map((id) => this.existing('disks', id));
    const nics = nicIds.map((id) => this.existing('networkInterfaces', id));
    if (osDisk?.createOption !== 'Attach' || osProfile !== undefined) {
      throw new ArmRefusal(400, 'InvalidParameter', "Parameter 'osProfile' is not allowed with an attached OS disk.");
    }
    const isSecond = disks[0]?.properties.hyperVGeneration === 'V2';
    if ((securityProfile !== undefined) !== isSecond) {
      throw new ArmRefusal(400, 'BadRequest', 'The security profile does not fit the generation of the OS disk.');
    }
    const { licenseType } = wanted.properties;
    if (
      licenseType !== undefined &&
      !['Windows_Server', 'Windows_Client', 'RHEL_BYOS', 'SLES_BYOS'].includes(licenseType)
    )
      throw new ArmRefusal(
        400,
        'InvalidParameter',
        `The value '${licenseType}' of parameter 'licenseType' is not allowed.`,
      );
    for (const disk of disks) {
      if (String(disk.zones) !== String(wanted.zones)) {
        throw new ArmRefusal(
          400,
          'BadRequest',
          `Disk ${disk.name} cannot be attached to the VM because it is not in zone '${String(wanted.zones)}'.`,
        );
      }
      if (disk.properties.provisioningState !== 'Succeeded' || ![undefined, wanted.id].includes(disk.managedBy)) {
        throw new ArmRefusal(409, 'Conflict', `Disk ${disk.name} is in use.`);
      }
      disk.managedBy = wanted.id;
      disk.properties.diskState = 'Attached';
    }
    for (const nic of nics) nic.properties.virtualMachine = { id: wanted.id };
    this.show('virtualMachines', wanted, { provisioningState: 'Creating' });
    return async () => {
      this.settle('virtualMachines', wanted.id);
      if (!this.power.has(key(wanted))) this.power.set(key(wanted), 'running');
    };
  }

  private detach(vmId: string): void {
    this.power.delete(vmId.toLowerCase());
    for (const disk of this.byType.disks.values()) {
      if (disk.managedBy !== vmId) continue;
      delete disk.managedBy;
      disk.properties.diskState = 'Unattached';
    }
    for (const nic of this.byType.networkInterfaces.values()) {
      if (nic.properties.virtualMachine?.id === vmId) delete nic.properties.virtualMachine;
    }
  }

  private unassign(nicId: string): void {
    for (const { properties } of this.byType.publicIPAddresses.values()) {
      if (properties.ipConfiguration?.id?.startsWith(`${nicId}/`) === true) delete properties.ipConfiguration;
    }
  }

  private show<Type extends ResourceType>(
    type: Type,
    wanted: WireResources[Type],
    shown: Partial<WireResources[Type]['properties']>,
  ): void {
    const found = this.get(type, wanted.id);
    Object.assign(wanted.properties, shown);
    if (found?.managedBy !== undefined) wanted.managedBy = found.managedBy;
    this.byType[type].set(key(wanted), wanted);
  }

  settle(type: ResourceType, id: string, provisioningState: 'Succeeded' | 'Failed' = 'Succeeded'): void {
    const found = this.get(type, id);
    if (found) found.properties.provisioningState = provisioningState;
  }

  private blobAt(uri: string): ReplicaBlob | undefined {
    const account = this.cloud.accounts.find(({ blobEndpoint }) => uri.startsWith(`${blobEndpoint}/`));
    const [container, ...path] = uri.slice((account?.blobEndpoint.length ?? 0) + 1).split('/');
    if (!account || container === undefined) return undefined;
    return { storageAccountId: account.armId, container, blobName: path.map(decodeURIComponent).join('/') };
  }
}

const key = ({ id }: { id: string }): string => id.toLowerCase();
const diskBlob = (id: string): ReplicaBlob => ({
  storageAccountId: 'azure',
  container: diskContainer,
  blobName: id.toLowerCase(),
});
