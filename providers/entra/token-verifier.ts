import { createRemoteJWKSet, errors, jwtVerify, type JWTPayload } from 'jose';
import { UnderstudyError } from '../../core/domain/errors.js';
import type { TokenHolder, TokenVerifier } from '../../core/ports/token-verifier.js';

export interface EntraDirectory {
  tenantId: string;
  /** Ids of this app as tokens name it: its client id, or its application id URI. */
  audiences: string[];
  /** Of the cloud, for example `https://login.microsoftonline.com`. */
  authority: string;
}

/** How far the clocks of directory and app may differ. */
const clockToleranceSeconds = 5 * 60;
/** A key that is not known is looked for at most this often: unknown ids must not make us a burden to the directory. */
const keyLookupCooldownMs = 30_000;
const keysKeptMs = 10 * 60 * 60 * 1000;
const keysTimeoutMs = 10_000;

/**
 * Tokens of Microsoft Entra ID, versions 1 and 2 (Microsoft identity platform, "Access tokens"): signed with RS256 by a key of
 * the tenant's key set, which is read again when a token names a key that is not in it.
 */
export function openEntraTokens({ tenantId, audiences, authority }: EntraDirectory): TokenVerifier {
  const keys = createRemoteJWKSet(new URL(`${authority}/${tenantId}/discovery/v2.0/keys`), {
    cooldownDuration: keyLookupCooldownMs,
    cacheMaxAge: keysKeptMs,
    timeoutDuration: keysTimeoutMs,
  });
  const issuer = [`${authority}/${tenantId}/v2.0`, `https://sts.windows.net/${tenantId}/`];
  return {
    verify: async (token) => {
      try {
        const { payload } = await jwtVerify(token, keys, {
          issuer,
          audience: audiences,
          algorithms: ['RS256'],
          clockTolerance: clockToleranceSeconds,
          requiredClaims: ['exp', 'iat'],
        });
        if (payload.tid !== tenantId) throw refused('it is of another tenant');
        return holderOf(payload);
      } catch (error) {
        throw failureOf(error);
      }
    },
  };
}

function holderOf(payload: JWTPayload): TokenHolder {
  const text = (name: string): string | undefined => (typeof payload[name] === 'string' ? payload[name] : undefined);
  const objectId = text('oid') ?? payload.sub ?? '';
  return {
    name: text('preferred_username') ?? text('upn') ?? text('azp') ?? text('appid') ?? objectId,
    objectId,
    roles: Array.isArray(payload.roles) ? payload.roles.filter((role) => typeof role === 'string') : [],
  };
}

function failureOf(error: unknown): UnderstudyError {
  if (error instanceof UnderstudyError) return error;
  if (error instanceof errors.JWTExpired) return refused('it has expired');
  if (error instanceof errors.JWTClaimValidationFailed) return refused(`its claim ${error.claim} is another one`);
  if (error instanceof errors.JWKSNoMatchingKey) return refused('the directory has no key of the id that it names');
  if (error instanceof errors.JWSSignatureVerificationFailed) return refused('its signature is wrong');
  if (error instanceof errors.JWKSTimeout || !(error instanceof errors.JOSEError)) return keysUnreachable(error);
  // The directory's own answer was no key set, or the token none at all.
  return error.code === 'ERR_JOSE_GENERIC' || error.code === 'ERR_JWKS_INVALID'
    ? keysUnreachable(error)
    : refused('it is no token that this app takes');
}

const refused = (found: string): UnderstudyError =>
  new UnderstudyError({
    code: 'US1009',
    message: `the bearer token is refused: ${found}`,
    possibleCauses:
      'It was issued for another app or by another tenant, or is older than an hour, or a clock is wrong.',
    recommendedAction: 'Sign in again, for the audience of this app, and call with the new token.',
    httpStatus: 401,
  });

const keysUnreachable = (cause: unknown): UnderstudyError =>
  new UnderstudyError({
    code: 'US1033',
    message: 'bearer tokens cannot be checked: the directory’s signing keys could not be read',
    possibleCauses: 'The directory cannot be reached from the app, or UNDERSTUDY_ENTRA_AUTHORITY names another place.',
    recommendedAction: 'Try again in a minute; if it lasts, look at the way from the app to the directory.',
    retry: 'later',
    httpStatus: 503,
    cause,
  });
