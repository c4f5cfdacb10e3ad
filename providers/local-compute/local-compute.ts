import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { UnderstudyError } from '../../core/domain/errors.js';
import { subnetNamed } from '../../core/domain/failover/placement.js';
import type { CloudCompute, CloudVm, CloudVmSpecification, DiskSource } from '../../core/ports/cloud-compute.js';
import type { CloudInventory } from '../../core/ports/cloud-inventory.js';
import type { ReplicaBlob } from '../../core/domain/protected-item/protected-item.js';
import { FencedError, type ReplicaStore } from '../../core/ports/replica-store.js';
import { StateConflictError, type StateRow, type StateTable } from '../../core/ports/state-table.js';
import { cloudVmSpecificationSchema } from '../../core/records/cloud-vm-specification.js';
import { usableAddresses } from './addresses.js';

/**
 * VMs without a hypervisor: each is a row, its disks are real blobs. A VM's addresses are rows as well and are taken in one
 * transaction with the VM's, so that two VMs never hold the same one.
 */
export function openLocalCompute(options: {
  inventory: CloudInventory;
  replicas: ReplicaStore;
  /** A table apart from the app's state: this is the cloud's own record. */
  records: StateTable;
}): CloudCompute {
  return new LocalCompute(options.inventory, options.replicas, options.records);
}

const partition = 'local-compute';
/** A fixed VHD is this much longer than its disk. */
const vhdFooterBytes = 512;
/** RFC 5737: for examples, never routed. */
const publicAddressPrefix = '203.0.113.0/24';
/** Racing writers settle within a few rounds; more means that something is wrong. */
const conflictRoundsMax = 20;

const recordSchema = z.object({
  specification: cloudVmSpecificationSchema,
  powerState: z.enum(['created', 'running', 'stopped']),
  /** Snapshots that hold a disk still for a reader. */
  exports: z.array(z.object({ exportName: z.string(), lun: z.number(), snapshotId: z.string() })).default([]),
  placement: z
    .object({
      nics: z.array(z.object({ subnetName: z.string(), privateIpAddress: z.string(), addressRowKey: z.string() })),
      publicIpAddress: z.string().exactOptional(),
      publicAddressRowKey: z.string().exactOptional(),
    })
    .exactOptional(),
});
type VmRecord = z.infer<typeof recordSchema>;

class LocalCompute implements CloudCompute {
  readonly capabilities = { runsWithoutNetwork: true };

  constructor(
    private readonly inventory: CloudInventory,
    private readonly replicas: ReplicaStore,
    private readonly records: StateTable,
  ) {}

  async createVm(specification: CloudVmSpecification): Promise<CloudVm> {
    for (let round = 1; ; round++) {
      const stored = await this.find(specification.vmArmId);
      if (stored) {
        if (!sameVm(stored.record.specification, specification)) throw anotherVm(specification.vmArmId);
        return toVm(stored.record);
      }
      await this.checkDisks(specification);
      const placement = await this.place(specification);
      const record: VmRecord = { specification, powerState: 'created', exports: [], ...(placement && { placement }) };
      try {
        await this.records.transact(partition, [
          { kind: 'insert', rowKey: vmRowKey(specification.vmArmId), value: record },
          ...addressRowKeys(placement).map((rowKey) => ({
            kind: 'insert' as const,
            rowKey,
            value: { vmArmId: specification.vmArmId },
          })),
        ]);
        return toVm(record);
      } catch (error) {
        // The VM was created by another run, or its address was taken: look again.
        if (!(error instanceof StateConflictError) || round >= conflictRoundsMax) throw error;
      }
    }
  }

  async startVm(vmArmId: string): Promise<CloudVm> {
    return this.setPower(vmArmId, 'running');
  }

  async stopVm(vmArmId: string): Promise<CloudVm> {
    return this.setPower(vmArmId, 'stopped');
  }

  async getVm(vmArmId: string): Promise<CloudVm | undefined> {
    const stored = await this.find(vmArmId);
    return stored && toVm(stored.record);
  }

  async deleteVm(vmArmId: string, options: { deleteDisks: boolean }): Promise<void> {
    for (let round = 1; ; round++) {
      const stored = await this.find(vmArmId);
      if (!stored) return;
      const { record, row } = stored;
      // The disks first: a crash between leaves a VM that can be deleted again, never disks that nothing names.
      if (options.deleteDisks) {
        for (const { blob } of record.specification.disks) await this.replicas.deleteDisk(blob);
      }
      try {
        await this.records.transact(partition, [
          { kind: 'delete', rowKey: row.rowKey, etag: row.etag },
          ...addressRowKeys(record.placement).map((rowKey) => ({ kind: 'delete' as const, rowKey })),
        ]);
        return;
      } catch (error) {
        if (!(error instanceof StateConflictError) || round >= conflictRoundsMax) throw error;
      }
    }
  }

  /** Read in its own place: a snapshot of it holds still. Recorded, so that a repeat gives the same one. */
  async exportDisk(
    vmArmId: string,
    { exportName, lun }: { exportName: string; lun: number },
  ): Promise<{ finished: true; source: DiskSource }> {
    for (let round = 1; ; round++) {
      const stored = await this.find(vmArmId);
      const blob = stored?.record.specification.disks.find((disk) => disk.lun === lun)?.blob;
      if (!stored || !blob) throw noSuchVm(`${vmArmId} with a disk at ${lun}`);
      const { record, row } = stored;
      const known = record.exports.find((each) => each.exportName === exportName && each.lun === lun);
      if (known) return { finished: true, source: { blob, snapshotId: known.snapshotId } };
      const { snapshotId } = await this.snapshot(vmArmId, blob);
      const changed: VmRecord = { ...record, exports: [...record.exports, { exportName, lun, snapshotId }] };
      try {
        await this.replaceRecord(row, changed);
        return { finished: true, source: { blob, snapshotId } };
      } catch (error) {
        await this.replicas.deleteSnapshot(blob, snapshotId);
        if (!(error instanceof StateConflictError) || round >= conflictRoundsMax) throw error;
      }
    }
  }

  async endExport(vmArmId: string, { exportName }: { exportName: string }): Promise<void> {
    for (let round = 1; ; round++) {
      const stored = await this.find(vmArmId);
      const ended = stored?.record.exports.filter((each) => each.exportName === exportName) ?? [];
      if (!stored || ended.length === 0) return;
      const { record, row } = stored;
      for (const { lun, snapshotId } of ended) {
        const blob = record.specification.disks.find((disk) => disk.lun === lun)?.blob;
        if (blob) await this.replicas.deleteSnapshot(blob, snapshotId);
      }
      try {
        await this.replaceRecord(row, { ...record, exports: record.exports.filter((each) => !ended.includes(each)) });
        return;
      } catch (error) {
        if (!(error instanceof StateConflictError) || round >= conflictRoundsMax) throw error;
      }
    }
  }

  private async replaceRecord({ rowKey, etag }: StateRow, value: VmRecord): Promise<void> {
    await this.records.transact(partition, [{ kind: 'replace', rowKey, value, etag }]);
  }

  /** The guest goes on writing: the ETag that the snapshot asks for may have moved since it was read. */
  private async snapshot(vmArmId: string, blob: ReplicaBlob): Promise<{ snapshotId: string }> {
    for (let round = 1; ; round++) {
      const found = await this.replicas.properties(blob);
      if (!found) throw noSuchVm(`${vmArmId} with the disk ${blob.blobName}`);
      try {
        return await this.replicas.createSnapshot(blob, { ifMatch: found.etag, fence: found.fence });
      } catch (error) {
        if (!(error instanceof FencedError) || round >= conflictRoundsMax) throw error;
      }
    }
  }

  private async setPower(vmArmId: string, powerState: 'running' | 'stopped'): Promise<CloudVm> {
    for (let round = 1; ; round++) {
      const stored = await this.find(vmArmId);
      if (!stored) throw noSuchVm(vmArmId);
      const { record, row } = stored;
      if (record.powerState === powerState) return toVm(record);
      if (powerState === 'running') await this.checkDisks(record.specification);
      const changed: VmRecord = { ...record, powerState };
      try {
        await this.replaceRecord(row, changed);
        return toVm(changed);
      } catch (error) {
        if (!(error instanceof StateConflictError) || round >= conflictRoundsMax) throw error;
      }
    }
  }

  private async find(vmArmId: string): Promise<{ row: StateRow; record: VmRecord } | undefined> {
    const row = await this.records.get(partition, vmRowKey(vmArmId));
    return row && { row, record: recordSchema.parse(row.value) };
  }

  /** A VM does not come up on a disk that is missing or of another size. */
  private async checkDisks(specification: CloudVmSpecification): Promise<void> {
    for (const disk of specification.disks) {
      const found = await this.replicas.properties(disk.blob);
      if (found?.lengthBytes === disk.sizeBytes + vhdFooterBytes) continue;
      throw new UnderstudyError({
        code: 'US6052',
        message:
          `US6052 disk ${disk.name} of VM ${specification.name}: ${disk.blob.container}/${disk.blob.blobName} ` +
          (found
            ? `has ${found.lengthBytes} bytes, a VHD of ${disk.sizeBytes} has ${disk.sizeBytes + vhdFooterBytes}`
            : 'is not there'),
        possibleCauses: 'The copy was deleted or did not finish.',
        recommendedAction: 'Run the failover again.',
        details: { blob: disk.blob, sizeBytes: disk.sizeBytes, foundBytes: found?.lengthBytes },
      });
    }
  }

  private async place(specification: CloudVmSpecification): Promise<VmRecord['placement']> {
    if (specification.networkId === undefined) return undefined;
    const network = await this.inventory.network(specification.networkId);
    const nics: NonNullable<VmRecord['placement']>['nics'] = [];
    for (const { subnetName, staticIpAddress } of specification.nics) {
      const subnet = subnetNamed(subnetName, network.subnets);
      if (!subnet) throw new Error(`network ${network.armId} has no subnets`);
      const own = await this.freeAddress(`address!${rowKeyPart(network.armId)}!`, subnet.addressPrefix, {
        ...(staticIpAddress === undefined ? {} : { wanted: staticIpAddress }),
        besides: nics.map(({ privateIpAddress }) => privateIpAddress),
      });
      if (own === undefined) {
        throw staticIpAddress === undefined
          ? noAddress(specification.name, `in subnet ${subnet.name} of ${network.armId}`)
          : addressRefused(specification.name, staticIpAddress, subnet);
      }
      nics.push({ subnetName: subnet.name, privateIpAddress: own.address, addressRowKey: own.rowKey });
    }
    if (specification.publicAddress !== true) return { nics };
    const open = await this.freeAddress('public!', publicAddressPrefix);
    if (open === undefined) throw noAddress(specification.name, 'for the internet');
    return { nics, publicIpAddress: open.address, publicAddressRowKey: open.rowKey };
  }

  private async freeAddress(
    prefix: string,
    addressPrefix: string,
    { wanted, besides = [] }: { wanted?: string; besides?: readonly string[] } = {},
  ): Promise<{ address: string; rowKey: string } | undefined> {
    const taken = new Set(besides);
    for (let next: string | undefined, more = true; more; more = next !== undefined) {
      const page = await this.records.query(partition, { prefix, ...(next !== undefined && { next }) });
      for (const { rowKey } of page.rows) taken.add(rowKey.slice(prefix.length));
      next = page.next;
    }
    for (const address of usableAddresses(addressPrefix)) {
      if (wanted !== undefined && address !== wanted) continue;
      if (!taken.has(address)) return { address, rowKey: `${prefix}${address}` };
    }
    return undefined;
  }
}

const noAddress = (vmName: string, where: string): UnderstudyError =>
  new UnderstudyError({
    code: 'US6050',
    message: `US6050 placing VM ${vmName}: no address is free ${where}`,
    recommendedAction: 'Clean up test failovers, or choose a larger subnet.',
  });

function addressRefused(
  vmName: string,
  address: string,
  subnet: { name: string; addressPrefix: string },
): UnderstudyError {
  return new UnderstudyError({
    code: 'US6055',
    message: `US6055 placing VM ${vmName}: address ${address} cannot be had in subnet ${subnet.name} (${subnet.addressPrefix})`,
    possibleCauses: 'Another machine has it, or it lies outside of the subnet, or is one of those that Azure keeps.',
    recommendedAction: 'Free the address, or choose another one or none for the item’s network interface.',
    httpStatus: 409,
    details: { address, subnetName: subnet.name },
  });
}

function toVm(record: VmRecord): CloudVm {
  const { specification, powerState, placement } = record;
  return {
    ...specification,
    powerState,
    nics: specification.nics.map((nic, index) => {
      const placed = placement?.nics[index];
      return placed ? { ...nic, subnetName: placed.subnetName, privateIpAddress: placed.privateIpAddress } : nic;
    }),
    ...(placement?.publicIpAddress !== undefined && { publicIpAddress: placement.publicIpAddress }),
  };
}

const addressRowKeys = (placement: VmRecord['placement']): string[] =>
  placement === undefined
    ? []
    : [...placement.nics.map(({ addressRowKey }) => addressRowKey), placement.publicAddressRowKey].filter(
        (rowKey) => rowKey !== undefined,
      );

function sameVm(stored: CloudVmSpecification, wanted: CloudVmSpecification): boolean {
  const comparable = (vm: CloudVmSpecification): unknown =>
    JSON.parse(JSON.stringify({ ...vm, vmArmId: vm.vmArmId.toLowerCase() }));
  return isDeepStrictEqual(comparable(stored), comparable(wanted));
}

/** Forbidden in row keys: / \ # ? and control characters. */
const rowKeyPart = (text: string): string => encodeURIComponent(text.toLowerCase()).replaceAll('%', '=');
const vmRowKey = (vmArmId: string): string => `vm!${rowKeyPart(vmArmId)}`;

function anotherVm(vmArmId: string): UnderstudyError {
  return new UnderstudyError({
    code: 'US4010',
    message: `US4010 creating VM ${vmArmId}: another VM has this id`,
    possibleCauses: 'A VM of the same name is left from an earlier failover, or belongs to someone else.',
    recommendedAction: 'Delete or rename that VM, or give the item another VM name, then run the failover again.',
    httpStatus: 409,
    details: { vmArmId },
  });
}

function noSuchVm(vmArmId: string): UnderstudyError {
  return new UnderstudyError({
    code: 'US6051',
    message: `US6051 no VM ${vmArmId}`,
    possibleCauses: 'It was deleted outside of Understudy.',
    recommendedAction: 'Run the failover again.',
    httpStatus: 404,
    details: { vmArmId },
  });
}
