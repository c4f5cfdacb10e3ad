import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  transferBlobName,
  transferPrefixOfCycle,
  transferPrefixOfProtection,
  transferPrefixOfSegment,
} from '../../../../../core/domain/replication/blob-names.js';
import { sampleProtectionId } from '../../../../support/sample-item.js';

const diskId = 'd15c0000-0000-4000-8000-000000000000';
const uploadId = 'f'.repeat(32);

test('every transfer log lies below the prefixes by which it is cleaned up', () => {
  const log = transferBlobName(sampleProtectionId, 3, { kind: 'cycle', cycle: 12, diskId }, uploadId);
  assert(log.startsWith(transferPrefixOfCycle(sampleProtectionId, 3, 12)));
  assert(!log.startsWith(transferPrefixOfCycle(sampleProtectionId, 3, 1)));
  const segment = transferBlobName(sampleProtectionId, 3, { kind: 'segment', fromBytes: 512, diskId }, uploadId);
  assert(segment.startsWith(transferPrefixOfSegment(sampleProtectionId, 3, diskId, 512)));
  for (const name of [log, segment]) assert(name.startsWith(transferPrefixOfProtection(sampleProtectionId)));
});

test('an id that a relay made up never becomes part of a name', () => {
  for (const bad of ['', '../../x', 'short', `${'f'.repeat(31)}/`, 'F'.repeat(32), 'f'.repeat(65)]) {
    assert.throws(() => transferBlobName(sampleProtectionId, 1, { kind: 'cycle', cycle: 1, diskId }, bad), {
      code: 'US3014',
    });
  }
  assert.throws(() => transferBlobName(sampleProtectionId, 1, { kind: 'cycle', cycle: 1, diskId: 'a/b' }, uploadId), {
    code: 'US3014',
  });
});
