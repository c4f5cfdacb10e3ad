import type { Disk, VirtualMachine } from '@azure/arm-compute';
import type { NetworkInterface } from '@azure/arm-network';
import type { ReplicaBlob } from '../../core/domain/protected-item/protected-item.js';
import type { CloudCompute, CloudVm, CloudVmSpecification, DiskSource } from '../../core/ports/cloud-compute.js';
import type { CloudInventory } from '../../core/ports/cloud-inventory.js';
import type { ReplicaStore } from '../../core/ports/replica-store.js';
import type { ArmClients } from './arm-clients.js';
import { ArmParts, type ArmResource, type Part } from './arm-parts.js';
import { snapshotRequest, vmRequest } from './arm-requests.js';
import { unfinished } from './arm-errors.js';
import { ensure } from './ensure.js';
import { Patience, defaultWaitLimits, type WaitLimits } from './patience.js';
import { anotherVm, diskUnusable, noNetwork, noSuchVm, regionUnknown } from './refusals.js';
import { belongsTo, digestOf, recordIn, releasedTags, sha256, type VmRecord } from './specification-tags.js';
import { VmMaker } from './vm-maker.js';
import { diskName, placeOf, resourceId, snapshotName, type VmPlace } from './vm-place.js';

/**
 * VMs in Azure. `createVm` makes all that a VM consists of but the VM resource, since Azure starts a VM as it is made; the
 * first `startVm` makes that. Every resource carries the whole specification in its tags, so that what a broken-off run left
 * is found, finished or deleted (docs/decisions/azure-compute.md). What does not carry them is never touched.
 */
export function openAzureCompute(options: {
  inventory: CloudInventory;
  replicas: ReplicaStore;
  clients: (subscriptionId: string) => ArmClients;
  limits?: WaitLimits;
}): CloudCompute {
  return new AzureCompute(options.inventory, options.replicas, options.clients, options.limits ?? defaultWaitLimits);
}

/** A fixed VHD is this much longer than its disk. */
const vhdFooterBytes = 512;
/** Time that the store has to copy an exported disk. */
const exportAccessSeconds = 24 * 3600;

/** One call of the port: the VM that it is about, and the time that it has. */
interface Call {
  place: VmPlace;
  parts: ArmParts;
  patience: Patience;
}

/** What Azure has of a VM. */
interface Found {
  vm: VirtualMachine | undefined;
  /** The primary one. */
  nic: NetworkInterface | undefined;
  record: VmRecord;
}

class AzureCompute implements CloudCompute {
  readonly capabilities = { runsWithoutNetwork: false };

  constructor(
    private readonly inventory: CloudInventory,
    private readonly replicas: ReplicaStore,
    private readonly clients: (subscriptionId: string) => ArmClients,
    private readonly limits: WaitLimits,
  ) {}

  async createVm(specification: CloudVmSpecification): Promise<CloudVm> {
    const call = this.begin(specification.vmArmId);
    const digest = digestOf(specification);
    const stored = await this.find(call);
    if (stored && stored.record.digest !== digest) throw anotherVm(call.place.vmArmId, 'its specification differs');
    if (!stored) {
      await this.refuseForeignVm(call);
      await this.checkBlobs(specification);
    }
    if (!stored?.vm) {
      const { place, parts, patience } = call;
      const location = await this.region(specification);
      await new VmMaker({ specification, place, location }, this.inventory, parts, patience).makeParts();
    }
    const made = await this.find(call);
    if (made?.record.digest !== digest) throw anotherVm(call.place.vmArmId, 'another one was made at the same time');
    return this.toVm(call, made);
  }

  async startVm(vmArmId: string): Promise<CloudVm> {
    const call = this.begin(vmArmId);
    const { parts, patience } = call;
    const found = await this.found(call);
    const power = powerState(found.vm);
    if (power === 'running') return this.toVm(call, found);
    if (power === 'stopped') {
      await patience.insist(`starting ${parts.vm.title}`, () => parts.start());
    } else {
      await this.makeVm(call, found);
    }
    return this.toVm(call, await this.found(call));
  }

  async stopVm(vmArmId: string): Promise<CloudVm> {
    const call = this.begin(vmArmId);
    const { parts, patience } = call;
    const found = await this.found(call);
    // One that was never started runs nothing; one that is shut down from within still holds its host and is paid for.
    if (!found.vm || powerCode(found.vm) === 'PowerState/deallocated') return this.toVm(call, found);
    await patience.insist(`deallocating ${parts.vm.title}`, () => parts.deallocate());
    return this.toVm(call, await this.found(call));
  }

  async getVm(vmArmId: string): Promise<CloudVm | undefined> {
    const call = this.begin(vmArmId);
    const found = await this.find(call);
    return found && this.toVm(call, found);
  }

  async deleteVm(vmArmId: string, options: { deleteDisks: boolean }): Promise<void> {
    const call = this.begin(vmArmId);
    const { place, parts } = call;
    const found = await this.find(call);
    if (!found) return;
    if (found.vm) await this.remove(call, parts.vm, (vm) => isOf(vm, place));
    // The OS disk last: while other disks are there, something tells which ones.
    const disks = [...found.record.specification.disks].sort((a, b) => Number(a.isOsDisk) - Number(b.isOsDisk));
    for (const disk of disks) {
      const name = diskName(place, disk);
      if (options.deleteDisks) {
        await this.replicas.deleteDisk(disk.blob);
        await this.remove(call, parts.disk(name));
      } else {
        await this.release(call, name);
      }
    }
    // The primary one last, for the same reason.
    for (let index = found.record.specification.nics.length - 1; index >= 0; index--) {
      await this.remove(call, parts.networkInterface(index));
    }
    await this.remove(call, parts.publicAddress);
  }

  /**
   * Azure reads a disk out by a snapshot and a SAS; the store copies that to `to`. The snapshot goes when the copy is done,
   * so that `to` without a snapshot is a finished export.
   */
  async exportDisk(
    vmArmId: string,
    { exportName, lun, to }: { exportName: string; lun: number; to: ReplicaBlob },
  ): Promise<{ finished: false } | { finished: true; source: DiskSource }> {
    const call = this.begin(vmArmId);
    const { place, parts, patience } = call;
    const { specification } = (await this.found(call)).record;
    const entry = specification.disks.find((disk) => disk.lun === lun);
    const disk = entry && (await this.own(call, parts.disk(diskName(place, entry))));
    if (!disk) throw noSuchVm(`${vmArmId}, disk ${lun}`);
    const name = snapshotName(place, lun, sha256(exportName));
    const snapshot = parts.snapshot(name);
    const source = { blob: to };
    if (!(await this.own(call, snapshot)) && (await this.replicas.properties(to))) return { finished: true, source };
    await ensure(snapshot, snapshotRequest({ specification, place }, disk, exportName), place, patience);
    const { finished } = await this.replicas.copyFromUrl(() => this.grantRead(call, name), to);
    if (!finished) return { finished: false };
    await this.removeSnapshot(call, name);
    return { finished: true, source };
  }

  async endExport(
    vmArmId: string,
    { exportName, disks }: { exportName: string; disks: readonly { lun: number; to: ReplicaBlob }[] },
  ): Promise<void> {
    const call = this.begin(vmArmId);
    for (const { lun, to } of disks) {
      await this.removeSnapshot(call, snapshotName(call.place, lun, sha256(exportName)));
      await this.replicas.deleteDisk(to);
    }
  }

  private begin(vmArmId: string): Call {
    const place = placeOf(vmArmId);
    const patience = new Patience(this.limits);
    return { place, patience, parts: new ArmParts(place, this.clients(place.subscriptionId), patience) };
  }

  /**
   * By the first of the VM's resources that tells what it is, so that a half-made or half-deleted VM is found as well. Each
   * of them is there for a time in which the others are not.
   */
  private async find(call: Call): Promise<Found | undefined> {
    const { place, parts } = call;
    const standing = await this.read(call, parts.vm);
    const vm = isOf(standing, place) ? standing : undefined;
    const nic = await this.own(call, parts.networkInterface(0));
    const record =
      recordIn(vm?.tags, place) ??
      recordIn(nic?.tags, place) ??
      recordIn((await this.read(call, parts.disk(diskName(place, 'os'))))?.tags, place) ??
      recordIn((await this.read(call, parts.publicAddress))?.tags, place);
    return record && { vm, nic, record };
  }

  private async found(call: Call): Promise<Found> {
    const found = await this.find(call);
    if (!found) throw noSuchVm(call.place.vmArmId);
    return found;
  }

  private read<R extends ArmResource>({ patience }: Call, part: Part<R>): Promise<R | undefined> {
    return patience.insist(`reading ${part.title}`, () => part.get());
  }

  /** Undefined also where it is somebody else's. */
  private async own<R extends ArmResource>(call: Call, part: Part<R>): Promise<R | undefined> {
    const resource = await this.read(call, part);
    return belongsTo(resource?.tags, call.place) ? resource : undefined;
  }

  private async refuseForeignVm(call: Call): Promise<void> {
    if (await this.read(call, call.parts.vm)) throw anotherVm(call.place.vmArmId, 'Understudy did not make it');
  }

  private async region(specification: CloudVmSpecification): Promise<string> {
    const [disk] = specification.disks;
    if (!disk) throw new Error(`virtual machine ${specification.vmArmId} has no disks`);
    const { location, armId } = await this.inventory.storageAccount(disk.blob.storageAccountId);
    if (location === undefined) throw regionUnknown(armId);
    return location;
  }

  /** A disk is not made of, and a VM does not come up from, a copy that is missing or of another size. */
  private async checkBlobs(specification: CloudVmSpecification): Promise<void> {
    for (const disk of specification.disks) {
      const found = await this.replicas.properties(disk.blob);
      if (found?.lengthBytes !== disk.sizeBytes + vhdFooterBytes) {
        const blob = `${disk.blob.container}/${disk.blob.blobName}`;
        const state = found
          ? `has ${found.lengthBytes} bytes, a VHD of ${disk.sizeBytes} has 512 more`
          : 'is not there';
        throw diskUnusable(specification, disk, `${blob} ${state}`);
      }
    }
  }

  /** The first start: Azure makes the VM and boots it. */
  private async makeVm(call: Call, { record: { specification } }: Found): Promise<void> {
    const { place, parts, patience } = call;
    if (specification.networkId === undefined) throw noNetwork(place.vmArmId);
    await this.checkBlobs(specification);
    for (const disk of specification.disks) {
      const managed = await this.own(call, parts.disk(diskName(place, disk)));
      if (managed?.provisioningState === 'Succeeded') continue;
      throw diskUnusable(
        specification,
        disk,
        managed ? `its import is ${managed.provisioningState}` : 'is not imported',
      );
    }
    const location = await this.region(specification);
    await ensure(parts.vm, vmRequest({ specification, place, location }), place, patience);
  }

  private async remove<R extends ArmResource>(
    call: Call,
    part: Part<R>,
    isOurs = (resource: R | undefined): boolean => belongsTo(resource?.tags, call.place),
  ): Promise<void> {
    await call.patience.insist(`deleting ${part.title}`, async () => {
      const resource = await part.get();
      if (!isOurs(resource)) return;
      if (resource?.provisioningState === 'Deleting') throw unfinished(`deleting ${part.title}`, 'it is being deleted');
      await part.delete();
    });
  }

  /** A disk that stays is nobody's any more: another VM's under the same id does not take it for its own. */
  private async release(call: Call, name: string): Promise<void> {
    const { parts, patience } = call;
    const disk: Disk | undefined = await this.own(call, parts.disk(name));
    if (!disk) return;
    await patience.insist(`releasing ${parts.disk(name).title}`, () =>
      parts.tagDisk(name, releasedTags(disk.tags ?? {})),
    );
  }

  private async grantRead({ parts, patience }: Call, snapshot: string): Promise<string> {
    const tried = `granting access to ${parts.snapshot(snapshot).title}`;
    const url = await patience.insist(tried, () => parts.grantRead(snapshot, exportAccessSeconds));
    if (url === undefined) throw unfinished(tried, 'Azure gave no address');
    return url;
  }

  /** A snapshot that can be read cannot be deleted. */
  private async removeSnapshot(call: Call, name: string): Promise<void> {
    const { parts, patience } = call;
    const part = parts.snapshot(name);
    if (!(await this.own(call, part))) return;
    await patience.insist(`revoking access to ${part.title}`, () => parts.revokeAccess(name));
    await this.remove(call, part);
  }

  private async toVm(call: Call, { record: { specification }, vm, nic }: Found): Promise<CloudVm> {
    const nics: CloudVm['nics'] = [];
    for (const [index, place] of specification.nics.entries()) {
      const made = index === 0 ? nic : await this.own(call, call.parts.networkInterface(index));
      nics.push({ ...place, ...addressOf(made) });
    }
    const publicIpAddress =
      specification.publicAddress === true ? (await this.own(call, call.parts.publicAddress))?.ipAddress : undefined;
    return {
      ...specification,
      powerState: powerState(vm),
      nics,
      ...(publicIpAddress !== undefined && { publicIpAddress }),
    };
  }
}

function addressOf(nic: NetworkInterface | undefined): { subnetName?: string; privateIpAddress?: string } {
  const [configuration] = nic?.ipConfigurations ?? [];
  const subnetName = configuration?.subnet?.id?.split('/').at(-1);
  const privateIpAddress = configuration?.privateIPAddress;
  return {
    ...(subnetName !== undefined && { subnetName }),
    ...(privateIpAddress !== undefined && { privateIpAddress }),
  };
}

/** By its tags; or by what it runs on, where someone has put other tags in their place: what runs must not be taken for gone. */
function isOf(vm: VirtualMachine | undefined, place: VmPlace): boolean {
  const osDisk = resourceId(place, 'Microsoft.Compute/disks', diskName(place, 'os'));
  return (
    belongsTo(vm?.tags, place) || vm?.storageProfile?.osDisk?.managedDisk?.id?.toLowerCase() === osDisk.toLowerCase()
  );
}

const powerCode = (vm: VirtualMachine | undefined): string | undefined =>
  vm?.instanceView?.statuses?.find(({ code }) => code?.startsWith('PowerState/'))?.code;

/** A VM that Azure is still making, or failed to make, has no power state: it never started. */
function powerState(vm: VirtualMachine | undefined): CloudVm['powerState'] {
  const code = powerCode(vm);
  if (code === undefined) return 'created';
  return code === 'PowerState/running' || code === 'PowerState/starting' ? 'running' : 'stopped';
}
