import { UnderstudyError } from '../../core/domain/errors.js';
import type { CloudCompute } from '../../core/ports/cloud-compute.js';
import { FencedError, pageWriteMaxBytes, type ReplicaStore } from '../../core/ports/replica-store.js';

/** The guest of a VM of local compute: it writes to the VM's disks as long as the VM runs. */
export interface LocalGuest {
  /** Whole pages of 512 bytes. Rejects with US6053 where the VM does not run or has no such disk. */
  write(vmArmId: string, lun: number, offsetBytes: number, data: Buffer): Promise<void>;
}

export function openLocalGuest({
  compute,
  replicas,
}: {
  compute: Pick<CloudCompute, 'getVm'>;
  replicas: Pick<ReplicaStore, 'properties' | 'writePages'>;
}): LocalGuest {
  return {
    write: async (vmArmId, lun, offsetBytes, data) => {
      const vm = await compute.getVm(vmArmId);
      const blob = vm?.disks.find((disk) => disk.lun === lun)?.blob;
      if (vm?.powerState !== 'running' || blob === undefined) throw notRunning(vmArmId, lun);
      // The VM's disks have the fence that shut their copiers out; nobody raises it while the VM has them.
      const found = await replicas.properties(blob);
      if (found === undefined) throw notRunning(vmArmId, lun);
      try {
        for (let at = 0; at < data.length; at += pageWriteMaxBytes) {
          const piece = data.subarray(at, at + pageWriteMaxBytes);
          await replicas.writePages(blob, offsetBytes + at, piece, found.fence);
        }
      } catch (error) {
        throw error instanceof FencedError ? notRunning(vmArmId, lun) : error;
      }
    },
  };
}

const notRunning = (vmArmId: string, lun: number): UnderstudyError =>
  new UnderstudyError({
    code: 'US6053',
    message: `US6053 writing to disk ${lun} of VM ${vmArmId}: it does not run, or has no such disk`,
    recommendedAction: 'Start the VM, and name one of its disks.',
    httpStatus: 409,
    details: { vmArmId, lun },
  });
