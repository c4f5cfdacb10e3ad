import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UnderstudyError } from '../../../core/domain/errors.js';
import { storageFailure } from '../../../providers/azure-storage/storage-errors.js';

const answered = (statusCode: number, code: string): Error => Object.assign(new Error(code), { statusCode, code });
const retryOf = (error: Error) => {
  const failure = storageFailure('writing', 'x', error);
  assert(failure instanceof UnderstudyError);
  return failure.retry;
};

test('bytes damaged on the way and too many snapshots at once pass by themselves; a refusal does not', () => {
  assert.equal(retryOf(answered(400, 'Md5Mismatch')), 'later');
  assert.equal(retryOf(answered(409, 'SnapshotOperationRateExceeded')), 'later');
  assert.equal(retryOf(answered(503, 'ServerBusy')), 'later');
  assert.equal(retryOf(answered(400, 'InvalidInput')), 'never');
  assert.equal(retryOf(answered(403, 'AuthorizationFailure')), 'never');
});
