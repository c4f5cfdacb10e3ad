import { isDeepStrictEqual } from 'node:util';
import { UnderstudyError } from '../../../core/domain/errors.js';
import type { CloudCompute, CloudVm, CloudVmSpecification } from '../../../core/ports/cloud-compute.js';
import type { ReplicaBlob } from '../../../core/domain/protected-item/protected-item.js';
import type { ReplicaStore } from '../../../core/ports/replica-store.js';
import { Faults } from './faults.js';

/** The compute contract in one process's memory: VMs are records. */
export class InMemoryCloudCompute implements CloudCompute {
  readonly capabilities = { runsWithoutNetwork: true };
  readonly faults = new Faults();
  readonly vms = new Map<string, CloudVm>();
  readonly exports = new Map<string, { blob: ReplicaBlob; snapshotId: string }>();

  constructor(private readonly replicas?: ReplicaStore) {}

  async createVm(specification: CloudVmSpecification): Promise<CloudVm> {
    return this.faults.around('createVm', () => {
      const found = this.vms.get(specification.vmArmId);
      if (!found) {
        const vm: CloudVm = { ...specification, powerState: 'created' };
        this.vms.set(specification.vmArmId, vm);
        return vm;
      }
      const { powerState: _, ...existing } = found;
      if (isDeepStrictEqual(existing, specification)) return found;
      throw new UnderstudyError({
        code: 'US4010',
        message: `US4010 ${specification.vmArmId} is another virtual machine`,
        recommendedAction: 'Delete it, or choose another target name.',
      });
    });
  }

  async startVm(vmArmId: string): Promise<CloudVm> {
    return this.faults.around('startVm', () => this.setPower(vmArmId, 'running'));
  }

  async stopVm(vmArmId: string): Promise<CloudVm> {
    return this.faults.around('stopVm', () => this.setPower(vmArmId, 'stopped'));
  }

  async getVm(vmArmId: string): Promise<CloudVm | undefined> {
    return this.faults.around('getVm', () => this.vms.get(vmArmId));
  }

  async deleteVm(vmArmId: string): Promise<void> {
    return this.faults.around('deleteVm', () => {
      this.vms.delete(vmArmId);
    });
  }

  async exportDisk(
    vmArmId: string,
    { exportName, lun }: { exportName: string; lun: number },
  ): ReturnType<CloudCompute['exportDisk']> {
    return this.faults.around('exportDisk', async () => {
      const blob = this.vms.get(vmArmId)?.disks.find((disk) => disk.lun === lun)?.blob;
      const found = blob && (await this.replicas?.properties(blob));
      if (!blob || !found || !this.replicas) throw noSuchVm(vmArmId);
      const key = `${vmArmId}!${exportName}!${lun}`;
      const known = this.exports.get(key);
      if (known) return { finished: true, source: known };
      const { snapshotId } = await this.replicas.createSnapshot(blob, { ifMatch: found.etag, fence: found.fence });
      const source = { blob, snapshotId };
      this.exports.set(key, source);
      return { finished: true, source };
    });
  }

  async endExport(vmArmId: string, { exportName }: { exportName: string }): Promise<void> {
    return this.faults.around('endExport', async () => {
      for (const [key, { blob, snapshotId }] of this.exports) {
        if (!key.startsWith(`${vmArmId}!${exportName}!`)) continue;
        await this.replicas?.deleteSnapshot(blob, snapshotId);
        this.exports.delete(key);
      }
    });
  }

  private setPower(vmArmId: string, powerState: CloudVm['powerState']): CloudVm {
    const vm = this.vms.get(vmArmId);
    if (!vm) throw noSuchVm(vmArmId);
    const changed: CloudVm = { ...vm, powerState };
    this.vms.set(vmArmId, changed);
    return changed;
  }
}

const noSuchVm = (vmArmId: string): UnderstudyError =>
  new UnderstudyError({ code: 'US6051', message: `US6051 no VM ${vmArmId}`, recommendedAction: 'None.' });
