import type { Worker } from '../contract.js';

/**
 * The worker as the durable engine calls it: functions that it runs may have a durable client among their inputs, as on the
 * real host, and the engine itself knows only their trigger.
 */
export const withDurableClient = (worker: Worker, clientBinding: () => string): Worker => ({
  functions: worker.functions,
  invoke(request, signal) {
    const registered = worker.functions.get(request.functionName);
    const clients = (registered?.durableClientBindings ?? []).map(({ name }) => ({
      name,
      data: { string: clientBinding() },
    }));
    return worker.invoke({ ...request, inputData: [...request.inputData, ...clients] }, signal);
  },
});
