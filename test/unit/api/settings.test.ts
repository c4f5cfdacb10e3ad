import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { readSettings, settingsSchema } from '../../../functions/settings.js';

const laptop = {
  AzureWebJobsStorage: 'DefaultEndpointsProtocol=http;AccountKey=verysecret',
  UNDERSTUDY_AUTH: 'none',
  UNDERSTUDY_BOUND_TO: 'loopback',
  UNDERSTUDY_AZURE_INVENTORY: '/data/azure.json',
  UNDERSTUDY_CLOCK_URL: 'http://127.0.0.1:7071/admin/devhost/clock',
};

test('a laptop bound to loopback runs without authentication', () => {
  const settings = readSettings(laptop);
  assert.equal(settings.authentication, 'loopback');
  assert.equal(settings.clockUrl, laptop.UNDERSTUDY_CLOCK_URL);
});

test('without the switch the app asks for tokens', () => {
  const { UNDERSTUDY_AUTH: _absent, ...rest } = laptop;
  assert.equal(readSettings(rest).authentication, 'entra');
});

test('virtual machines of a failover run here unless Azure is named', () => {
  assert.equal(readSettings(laptop).compute, 'local');
  assert.equal(readSettings({ ...laptop, UNDERSTUDY_COMPUTE: '' }).compute, 'local');
  assert.equal(readSettings({ ...laptop, UNDERSTUDY_COMPUTE: 'azure' }).compute, 'azure');
  assert.throws(() => readSettings({ ...laptop, UNDERSTUDY_COMPUTE: 'aws' }), { code: 'US1000' });
});

test('the app refuses to start open to others', () => {
  const { UNDERSTUDY_BOUND_TO: _absent, ...unbound } = laptop;
  assert.throws(() => readSettings(unbound), { code: 'US1000' });
  assert.throws(() => readSettings({ ...laptop, WEBSITE_INSTANCE_ID: 'abc' }), { code: 'US1000' });
  assert.throws(() => readSettings({ ...laptop, UNDERSTUDY_BOUND_TO: 'everywhere' }), { code: 'US1000' });
});

test('business time cannot be borrowed from another machine, nor in Azure', () => {
  assert.throws(() => readSettings({ ...laptop, UNDERSTUDY_CLOCK_URL: 'http://example.com/' }), { code: 'US1000' });
  const azure = { ...laptop, UNDERSTUDY_AUTH: 'entra', WEBSITE_INSTANCE_ID: 'abc' };
  assert.throws(() => readSettings(azure), { code: 'US1000' });
});

test('a wrong setting is named, and no value is told', () => {
  const { UNDERSTUDY_AZURE_INVENTORY: _absent, ...rest } = laptop;
  assert.throws(
    () => readSettings({ ...rest, UNDERSTUDY_AUTH: 'maybe' }),
    (error: Error) =>
      error.message.includes('UNDERSTUDY_AZURE_INVENTORY') &&
      error.message.includes('UNDERSTUDY_AUTH') &&
      !error.message.includes('verysecret'),
  );
});

test('every setting has its place in the example, which can be used as it is, and a sentence in docs/settings.md', () => {
  const example = JSON.parse(readFileSync('local.settings.json.example', 'utf8')) as { Values: Record<string, string> };
  const documentation = readFileSync('docs/settings.md', 'utf8');
  const setByAzure = 'WEBSITE_INSTANCE_ID';
  for (const name of Object.keys(settingsSchema.shape)) {
    assert(name in example.Values || name === setByAzure, `${name} is not in local.settings.json.example`);
    assert(documentation.includes(`| \`${name}\` |`), `${name} is not in docs/settings.md`);
  }
  assert.equal(readSettings(example.Values).authentication, 'loopback');
});
