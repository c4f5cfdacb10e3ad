import type { ReplicationError } from '../protected-item/protected-item.js';
import type { WorkflowFailure } from '../workflows/failure.js';

/** What a failback cannot go on without (docs/errors.md). */
export const noVmInAzure = (vmName: string, vmArmId: string | undefined): WorkflowFailure => ({
  code: 'US4020',
  message: `the virtual machine of ${vmName} in Azure, ${vmArmId ?? 'never made'}, is not there`,
  possibleCauses: 'It was deleted outside of Understudy.',
  recommendedAction:
    'Nothing was changed at the site. Disable replication of the item; the VM at the site can be used.',
  retry: 'never',
});

export const siteHasNoVm = (vmName: string): WorkflowFailure => ({
  code: 'US4022',
  message: `the site has no virtual machine ${vmName} to fail back to`,
  possibleCauses: 'The virtual machine was lost with the site, or deleted.',
  recommendedAction: 'Run the failback with CreateVmIfNotFound and name the host that the VM is to be made on.',
  retry: 'never',
});

export const unknownHost = (vmName: string, hostId: string): WorkflowFailure => ({
  code: 'US4023',
  message: `the site has no host ${hostId} to make ${vmName} on`,
  possibleCauses: 'The id is misspelt, or the host was removed from VMM.',
  recommendedAction: 'See the hosts of the site in the fabric, and run the failback again with the id of one of them.',
  retry: 'never',
});

/** Beyond the size of the source's disk a failback would cut it off, and the commit delete the rest. */
export const diskGrewInAzure = (
  vmName: string,
  diskName: string,
  sizes: { atSiteBytes: number; inAzureBytes: number },
): WorkflowFailure => ({
  code: 'US4027',
  message: `disk ${diskName} of ${vmName} has ${sizes.inAzureBytes} bytes in Azure and ${sizes.atSiteBytes} at the site: what lies beyond would be lost`,
  possibleCauses: 'The disk was resized in Azure after the failover.',
  recommendedAction:
    'Nothing was changed; the VM goes on in Azure. Move the data to a disk of the former size, or bring it back by other means and complete the migration.',
  retry: 'never',
});

/** What it writes there would not be in the disks that the site gets. */
export const vmStartedInAzure = (vmName: string, vmArmId: string): WorkflowFailure => ({
  code: 'US4028',
  message: `the virtual machine of ${vmName} in Azure, ${vmArmId}, was started while it was failed back`,
  possibleCauses: 'Somebody, or an automation, started it after the failback had shut it down.',
  recommendedAction:
    'It goes on in Azure, with all that it wrote. Keep whatever starts it from doing so, then run the failback again.',
  retry: 'never',
});

/** The relay, or the app, cannot go on by itself: its own words say why. */
export const failbackStopped = (
  vmName: string,
  { code, message, recommendedAction }: ReplicationError,
): WorkflowFailure => ({
  code: 'US4024',
  message: `the failback of ${vmName} does not go on: ${message} (${code})`,
  possibleCauses: 'An error stands that only an operator can mend.',
  recommendedAction: `${recommendedAction} Then run the failback again; the VM goes on in Azure until then.`,
  retry: 'never',
});

/** From when the site may start the VM until its start is missed. */
export const siteStartMinutes = 15;

export const siteStartLate: WorkflowFailure = {
  code: 'US4025',
  message: `the virtual machine was not seen to start at the site within ${siteStartMinutes} minutes`,
  possibleCauses: 'The relay or the host is busy or down; the disks are in place, and nothing is lost.',
  recommendedAction: 'The relay goes on trying. See the VM at the site and start it there if it does not come up.',
  retry: 'never',
};

export const cancelledByOperator: WorkflowFailure = {
  code: 'US4026',
  message: 'the job was cancelled by an operator',
  possibleCauses: 'An operator asked for it.',
  recommendedAction: 'Run the operation again when it is wanted.',
  retry: 'never',
};
