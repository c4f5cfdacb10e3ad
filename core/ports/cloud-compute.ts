import type { ReplicaBlob } from '../domain/protected-item/protected-item.js';

/** VMs that run in the cloud after a failover. Every method is idempotent by `vmArmId`. */
export interface CloudCompute {
  /** Creates the VM from disks that are already its own copies. A repeat with the same specification returns the same VM; another one under the same id is refused with US4010. */
  createVm(specification: CloudVmSpecification): Promise<CloudVm>;
  startVm(vmArmId: string): Promise<CloudVm>;
  stopVm(vmArmId: string): Promise<CloudVm>;
  getVm(vmArmId: string): Promise<CloudVm | undefined>;
  /** Deletes the VM record, its network interface and, on demand, its disks. Absent is no error. */
  deleteVm(vmArmId: string, options: { deleteDisks: boolean }): Promise<void>;
}

export interface CloudVmSpecification {
  vmArmId: string;
  name: string;
  size: string;
  generation: 1 | 2;
  osType: string;
  networkId?: string;
  subnetName?: string;
  /** In LUN order, the OS disk first. */
  disks: { name: string; lun: number; isOsDisk: boolean; blob: ReplicaBlob; sizeBytes: number }[];
  /** Item, job and recovery point, so that a VM found in the cloud can be traced. */
  tags: Record<string, string>;
}

export interface CloudVm extends CloudVmSpecification {
  powerState: 'created' | 'running' | 'stopped';
  privateIpAddress?: string;
}
