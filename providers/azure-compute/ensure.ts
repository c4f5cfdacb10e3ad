import { unfinished } from './arm-errors.js';
import type { ArmResource, Part } from './arm-parts.js';
import type { Patience } from './patience.js';
import { anotherVm } from './refusals.js';
import { belongsTo, digestIn } from './specification-tags.js';
import type { VmPlace } from './vm-place.js';

/**
 * The resource as it is asked for: there already, made now, or made anew where an earlier attempt failed. Refuses one that
 * is somebody else's, or made from another specification, with US4010.
 */
export async function ensure<R extends ArmResource>(
  part: Part<R>,
  wanted: R,
  place: VmPlace,
  patience: Patience,
): Promise<R> {
  const tried = `making ${part.title}`;
  return patience.insist(tried, async () => {
    const found = await part.get();
    if (found && !(belongsTo(found.tags, place) && digestIn(found.tags) === digestIn(wanted.tags))) {
      throw anotherVm(place.vmArmId, `the ${part.title} is another one’s`);
    }
    switch (found?.provisioningState) {
      case 'Succeeded':
        return found;
      case undefined:
      case 'Failed':
      case 'Canceled':
        return part.put(wanted);
      default:
        // Another run asked for it.
        throw unfinished(tried, `it is ${found?.provisioningState}`);
    }
  });
}
