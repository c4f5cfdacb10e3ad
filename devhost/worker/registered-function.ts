import type { BindingMetadata, RegisteredFunction, TriggerKind } from '../contract.js';
import { DevhostError } from '../errors.js';
import type { FunctionMetadata } from './core-module.js';

const triggerKinds: Record<string, TriggerKind> = {
  httptrigger: 'http',
  timertrigger: 'timer',
  orchestrationtrigger: 'orchestration',
  activitytrigger: 'activity',
  entitytrigger: 'entity',
};
const durableClientTypes = ['durableclient', 'orchestrationclient'];

/** The host's view of a registration. A binding's name is its key: the library names bindings by hashes. */
export function toRegisteredFunction(metadata: FunctionMetadata): RegisteredFunction {
  const bindings: BindingMetadata[] = Object.entries(metadata.bindings).map(([name, binding]) => ({
    ...binding,
    name,
  }));
  const triggers = bindings.filter((binding) => binding.type.toLowerCase().endsWith('trigger'));
  const [triggerBinding] = triggers;
  if (triggerBinding === undefined || triggers.length > 1) {
    throw new DevhostError('badTrigger', `function ${metadata.name} has ${triggers.length} triggers; it needs one`);
  }
  const trigger = triggerKinds[triggerBinding.type.toLowerCase()];
  if (trigger === undefined) {
    throw new DevhostError(
      'unknownTrigger',
      `function ${metadata.name} has a ${triggerBinding.type}, which devhost does not know ` +
        `(it knows ${Object.keys(triggerKinds).join(', ')})`,
    );
  }
  return {
    name: metadata.name,
    trigger,
    triggerBinding,
    durableClientBindings: bindings.filter((binding) => durableClientTypes.includes(binding.type.toLowerCase())),
  };
}
