import type { Disk, Snapshot, VirtualMachine } from '@azure/arm-compute';
import type { NetworkInterface, PublicIPAddress } from '@azure/arm-network';
import type { ArmClients } from './arm-clients.js';
import { isNotFound } from './arm-errors.js';
import type { Patience } from './patience.js';
import { networkInterfaceName, publicAddressName, type VmPlace } from './vm-place.js';

export interface ArmResource {
  tags?: Record<string, string>;
  readonly provisioningState?: string;
}

/** One resource of a virtual machine, by its name. Each call but `get` ends when Azure's operation has ended. */
export interface Part<Resource extends ArmResource> {
  /** For messages: what it is, its name and where. */
  readonly title: string;
  get(): Promise<Resource | undefined>;
  put(resource: Resource): Promise<Resource>;
  delete(): Promise<void>;
}

/** What one call of the port does to Azure, with the time that it has. */
export class ArmParts {
  private readonly compute: ArmClients['compute'];
  private readonly network: ArmClients['network'];
  private readonly options: { abortSignal: AbortSignal; updateIntervalInMs: number };
  private readonly group: string;

  constructor(
    private readonly place: VmPlace,
    { compute, network }: ArmClients,
    patience: Patience,
  ) {
    this.compute = compute;
    this.network = network;
    this.group = place.resourceGroup;
    this.options = { abortSignal: patience.signal, updateIntervalInMs: patience.pollMilliseconds };
  }

  get vm(): Part<VirtualMachine> {
    const { compute, group, options } = this;
    const name = this.place.vmName;
    return {
      title: this.title('virtual machine', name),
      get: () =>
        absentAsUndefined(() => compute.virtualMachines.get(group, name, { ...options, expand: 'instanceView' })),
      put: async (vm) =>
        compute.virtualMachines.createOrUpdate(group, name, vm, options).pollUntilDone(this.untilDone()),
      delete: async () => compute.virtualMachines.delete(group, name, options).pollUntilDone(this.untilDone()),
    };
  }

  networkInterface(index: number): Part<NetworkInterface> {
    const { networkInterfaces } = this.network;
    const { group, options } = this;
    const name = networkInterfaceName(this.place, index);
    return {
      title: this.title('network interface', name),
      get: () => absentAsUndefined(() => networkInterfaces.get(group, name, options)),
      put: async (nic) =>
        (await networkInterfaces.beginCreateOrUpdate(group, name, nic, options)).pollUntilDone(this.untilDone()),
      delete: async () => (await networkInterfaces.beginDelete(group, name, options)).pollUntilDone(this.untilDone()),
    };
  }

  get publicAddress(): Part<PublicIPAddress> {
    const { publicIPAddresses } = this.network;
    const { group, options } = this;
    const name = publicAddressName(this.place);
    return {
      title: this.title('public IP address', name),
      get: () => absentAsUndefined(() => publicIPAddresses.get(group, name, options)),
      put: async (address) =>
        (await publicIPAddresses.beginCreateOrUpdate(group, name, address, options)).pollUntilDone(this.untilDone()),
      delete: async () => (await publicIPAddresses.beginDelete(group, name, options)).pollUntilDone(this.untilDone()),
    };
  }

  disk(name: string): Part<Disk> {
    const { disks } = this.compute;
    const { group, options } = this;
    return {
      title: this.title('disk', name),
      get: () => absentAsUndefined(() => disks.get(group, name, options)),
      put: async (disk) => disks.createOrUpdate(group, name, disk, options).pollUntilDone(this.untilDone()),
      delete: async () => disks.delete(group, name, options).pollUntilDone(this.untilDone()),
    };
  }

  snapshot(name: string): Part<Snapshot> {
    const { snapshots } = this.compute;
    const { group, options } = this;
    return {
      title: this.title('snapshot', name),
      get: () => absentAsUndefined(() => snapshots.get(group, name, options)),
      put: async (snapshot) => snapshots.createOrUpdate(group, name, snapshot, options).pollUntilDone(this.untilDone()),
      delete: async () => snapshots.delete(group, name, options).pollUntilDone(this.untilDone()),
    };
  }

  async start(): Promise<void> {
    const { virtualMachines } = this.compute;
    await virtualMachines.start(this.group, this.place.vmName, this.options).pollUntilDone(this.untilDone());
  }

  async deallocate(): Promise<void> {
    const { virtualMachines } = this.compute;
    await virtualMachines.deallocate(this.group, this.place.vmName, this.options).pollUntilDone(this.untilDone());
  }

  /** Replaces all tags of a disk. */
  async tagDisk(name: string, tags: Record<string, string>): Promise<void> {
    await this.compute.disks.update(this.group, name, { tags }, this.options).pollUntilDone(this.untilDone());
  }

  /** A SAS that reads the snapshot as a VHD, or undefined where Azure gave none. */
  async grantRead(snapshot: string, durationInSeconds: number): Promise<string | undefined> {
    const { snapshots } = this.compute;
    const granting = snapshots.grantAccess(this.group, snapshot, { access: 'Read', durationInSeconds }, this.options);
    return (await granting.pollUntilDone(this.untilDone())).accessSAS;
  }

  /** Absent is no error: an earlier run's deletion may end at any time. */
  async revokeAccess(snapshot: string): Promise<void> {
    const { snapshots } = this.compute;
    await absentAsUndefined(() =>
      snapshots.revokeAccess(this.group, snapshot, this.options).pollUntilDone(this.untilDone()),
    );
  }

  private untilDone(): { abortSignal: AbortSignal } {
    return { abortSignal: this.options.abortSignal };
  }

  private title(what: string, name: string): string {
    return `${what} ${name} in resource group ${this.group}`;
  }
}

async function absentAsUndefined<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
