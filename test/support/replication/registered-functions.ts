import assert from 'node:assert/strict';
import { activities } from '../../../activities/contract.js';
import type { RegisteredActivity } from '../../../activities/registration.js';
import { workflows } from '../../../orchestrators/registration.js';
import { df } from '../durable/function-app.js';

/** The functions are registered once a process; a test's world lends them its activities. */
let handlers: ReadonlyMap<string, RegisteredActivity['handler']> = new Map();

for (const { name } of Object.values(activities)) {
  df.app.activity(name, {
    handler: async (input: unknown) => {
      const handler = handlers.get(name);
      assert(handler, `no activity ${name}`);
      return handler(input);
    },
  });
}
for (const { name, handler } of workflows) df.app.orchestration(name, handler);

/** From here on the registered functions run these. */
export function lendActivities(registrations: readonly RegisteredActivity[]): void {
  handlers = new Map(registrations.map(({ name, handler }) => [name, handler]));
}
