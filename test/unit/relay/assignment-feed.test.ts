import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AssignmentsResponse } from '../../../core/domain/relay-protocol/wire.js';
import { AssignmentFeed } from '../../../relay/assignment-feed.js';

test('a question hangs only while there is contact: that it is back is heard at once', async () => {
  const asked: number[] = [];
  let contacts = 0;
  let feed: AssignmentFeed | undefined;
  await new Promise<void>((resolve) => {
    feed = new AssignmentFeed(
      {
        assignments: async (_version, waitSeconds) => {
          asked.push(waitSeconds);
          if (asked.length === 2) throw new Error('the app is gone');
          if (asked.length === 4) resolve();
          return { version: 'v1', items: [], commands: [] } as unknown as AssignmentsResponse;
        },
      },
      { onAnswer: () => undefined, onContact: () => contacts++, onContactLost: () => undefined },
    );
  });
  await feed?.stop();
  assert.deepEqual(asked.slice(0, 4), [0, 25, 0, 25]);
  assert.equal(contacts, 2);
});
