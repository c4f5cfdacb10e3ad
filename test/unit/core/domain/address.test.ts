import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isUsableAddress } from '../../../../core/domain/failover/address.js';

test('addresses of a subnet, without those that Azure keeps', () => {
  for (const address of ['10.10.0.4', '10.10.0.254']) assert.ok(isUsableAddress('10.10.0.0/24', address), address);
  for (const address of ['10.10.0.0', '10.10.0.3', '10.10.0.255', '10.10.1.4', '11.10.0.4']) {
    assert.ok(!isUsableAddress('10.10.0.0/24', address), address);
  }
  assert.ok(isUsableAddress('192.168.128.0/17', '192.168.255.254'));
  assert.ok(!isUsableAddress('10.0.0.0/29', '10.0.0.7'));
});
