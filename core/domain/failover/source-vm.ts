import { UnderstudyError } from '../errors.js';
import type { ProtectedItem } from '../protected-item/protected-item.js';
import { vmIn, type SiteInventory, type SiteVm } from '../site/inventory.js';

/** The item's VM as its site has it, or, where the site's inventory names it no more, as the site had it last. */
export const lastKnownVm = (
  item: Pick<ProtectedItem, 'vmId' | 'source'>,
  inventory: SiteInventory | undefined,
): SiteVm | undefined => vmIn(inventory, item.vmId) ?? item.source;

/** A machine is not made by guesses: of the wrong generation it does not boot, and without its interfaces nobody reaches it. */
export const sourceUnknown = ({ vmName }: Pick<ProtectedItem, 'vmName'>): UnderstudyError =>
  new UnderstudyError({
    code: 'US4040',
    message: `what kind of machine ${vmName} is is not known: its site does not name it, and never described it to this vault`,
    possibleCauses: 'The site was lost before its relay reported an inventory with this virtual machine.',
    recommendedAction:
      'Start the relay, so that it reports the virtual machine once, then fail over. If the site is lost, export the recovery point’s disks (export) and make a virtual machine of them.',
    retry: 'never',
  });
