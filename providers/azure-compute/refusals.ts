import { UnderstudyError } from '../../core/domain/errors.js';
import type { CloudVmSpecification } from '../../core/ports/cloud-compute.js';

export function anotherVm(vmArmId: string, found: string): UnderstudyError {
  return new UnderstudyError({
    code: 'US4010',
    message: `US4010 creating VM ${vmArmId}: another VM has this id, or one of its resources (${found})`,
    possibleCauses: 'A VM of the same name is left from an earlier failover, or belongs to someone else.',
    recommendedAction:
      'Delete or rename that VM and its resources, or give the item another VM name, then run the failover again.',
    httpStatus: 409,
    details: { vmArmId },
  });
}

export function noSuchVm(vmArmId: string): UnderstudyError {
  return new UnderstudyError({
    code: 'US6051',
    message: `US6051 no VM ${vmArmId}`,
    possibleCauses: 'It was deleted outside of Understudy.',
    recommendedAction: 'Run the failover again.',
    httpStatus: 404,
    details: { vmArmId },
  });
}

export function diskUnusable(
  specification: CloudVmSpecification,
  disk: CloudVmSpecification['disks'][number],
  found: string,
): UnderstudyError {
  return new UnderstudyError({
    code: 'US6052',
    message: `US6052 disk ${disk.name} of VM ${specification.name}: ${found}`,
    possibleCauses: 'The copy was deleted or did not finish.',
    recommendedAction: 'Run the failover again.',
    details: { blob: disk.blob, sizeBytes: disk.sizeBytes },
  });
}

export function noNetwork(vmArmId: string): UnderstudyError {
  return new UnderstudyError({
    code: 'US6066',
    message: `US6066 starting VM ${vmArmId}: it has no network, and Azure runs no VM without one`,
    possibleCauses: 'No target network was named when protection was enabled.',
    recommendedAction: 'Give the item a target network, or map its network, then fail over again.',
    httpStatus: 409,
    details: { vmArmId },
  });
}

export function regionUnknown(storageAccountId: string): UnderstudyError {
  return new UnderstudyError({
    code: 'US6067',
    message: `US6067 the inventory does not say in which Azure region the storage account ${storageAccountId} is`,
    possibleCauses: 'The inventory’s file was written for a machine without Azure.',
    recommendedAction: 'Add the account’s location to the inventory, then fail over again.',
    details: { storageAccountId },
  });
}

export const noVmId = (vmArmId: string): UnderstudyError =>
  new UnderstudyError({
    code: 'US6068',
    message: `US6068 ${vmArmId} is not the id of a virtual machine`,
    possibleCauses: 'The resource group or the name of the item’s virtual machine is not what Azure takes.',
    recommendedAction: 'Set the item’s resource group by its id, /subscriptions/…/resourceGroups/…, and its name.',
    httpStatus: 400,
  });
