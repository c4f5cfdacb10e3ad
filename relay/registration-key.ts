import { z } from 'zod';
import { RegistrationKeyExpiredError, RegistrationKeyUnreadableError } from './errors.js';

const registrationKey = z.object({
  endpoint: z.url({ protocol: /^https?$/ }),
  vaultId: z.string().min(1),
  secret: z.string().min(1),
  expiresAt: z.iso.datetime({ offset: true }),
});
export type RegistrationKey = z.infer<typeof registrationKey>;

/** Reads the text of a key file: base64url of a JSON object. `now` is system time: a key's life is a matter of security. */
export function parseRegistrationKey(file: string, text: string, now: Date): RegistrationKey {
  const encoded = text.trim();
  if (encoded === '') throw new RegistrationKeyUnreadableError(file, 'the file is empty');
  if (!/^[A-Za-z0-9_-]+={0,2}$/.test(encoded)) {
    throw new RegistrationKeyUnreadableError(file, 'it holds characters that are not base64url');
  }
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(encoded, 'base64url').toString('utf8'));
  } catch {
    // The parser's own message would quote the secret.
    throw new RegistrationKeyUnreadableError(file, 'it does not hold JSON');
  }
  const parsed = registrationKey.safeParse(json);
  if (!parsed.success) {
    const fields = parsed.error.issues.map((issue) => issue.path.join('.') || 'the whole').join(', ');
    throw new RegistrationKeyUnreadableError(file, `missing or wrong in it: ${fields}`);
  }
  if (Date.parse(parsed.data.expiresAt) <= now.getTime()) {
    throw new RegistrationKeyExpiredError(file, parsed.data.expiresAt);
  }
  return { ...parsed.data, endpoint: parsed.data.endpoint.replace(/\/+$/, '') };
}
