import type { NicPlace } from '../domain/failover/nics.js';
import type { ReplicaBlob } from '../domain/protected-item/protected-item.js';

/** VMs that run in the cloud after a failover. Every method is idempotent by `vmArmId`. */
export interface CloudCompute {
  readonly capabilities: { runsWithoutNetwork: boolean };
  /** Creates the VM from disks that are already its own copies. A repeat with the same specification returns the same VM; another one under the same id is refused with US4010. */
  createVm(specification: CloudVmSpecification): Promise<CloudVm>;
  startVm(vmArmId: string): Promise<CloudVm>;
  stopVm(vmArmId: string): Promise<CloudVm>;
  getVm(vmArmId: string): Promise<CloudVm | undefined>;
  /** Deletes the VM record, its network interfaces and, on demand, its disks. Absent is no error. */
  deleteVm(vmArmId: string, options: { deleteDisks: boolean }): Promise<void>;
  /**
   * Makes one disk of the VM readable as it is now, running or stopped: what the VM writes afterwards does not reach it.
   * To be called again until it is finished; `exportName` is safe in names, and the same one gives the same content until
   * its end. `to` is where the disk is copied to if it cannot be read in its own place. Rejects with US6051 where the VM, or
   * its disk, is not there.
   */
  exportDisk(
    vmArmId: string,
    options: { exportName: string; lun: number; to: ReplicaBlob },
  ): Promise<{ finished: false } | { finished: true; source: DiskSource }>;
  /** Lets go of what exports of this name hold, `to` and its snapshots included. Absent is no error. */
  endExport(
    vmArmId: string,
    options: { exportName: string; disks: readonly { lun: number; to: ReplicaBlob }[] },
  ): Promise<void>;
}

/** Content that holds still: a page blob with a fixed VHD, or a snapshot of one. */
export interface DiskSource {
  blob: ReplicaBlob;
  snapshotId?: string;
}

export interface CloudVmSpecification {
  vmArmId: string;
  name: string;
  size: string;
  generation: 1 | 2;
  osType: string;
  networkId?: string;
  /**
   * All in that network, the primary one first; none where there is no network. A static address is refused with US6055 where
   * another has it, or it lies outside of its subnet.
   */
  nics: NicPlace[];
  /** ARM id; or the number of a zone. */
  availabilitySetId?: string;
  availabilityZone?: string;
  licenseType?: string;
  /** Reachable from the internet; needs a network. Absent is no. */
  publicAddress?: boolean;
  /** In LUN order, the OS disk first. */
  disks: { name: string; lun: number; isOsDisk: boolean; blob: ReplicaBlob; sizeBytes: number }[];
  /** Item, job and recovery point, so that a VM found in the cloud can be traced. */
  tags: Record<string, string>;
  /** Of its interfaces, and of its disks; absent: those of the VM. */
  nicTags?: Record<string, string>;
  diskTags?: Record<string, string>;
}

export interface CloudVm extends CloudVmSpecification {
  powerState: 'created' | 'running' | 'stopped';
  /** As they are: with their subnets, and their addresses once the cloud has assigned them. */
  nics: (NicPlace & { privateIpAddress?: string })[];
  /** Of the primary interface, once the cloud has assigned it. */
  publicIpAddress?: string;
}
