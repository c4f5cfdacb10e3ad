import { ApiError } from '../http/api-error.js';

const namedMax = 10;

/** 409 for what is to be deleted while something else goes by it; whatever that is, is named. */
export function refuseUsed(kind: string, name: string, users: readonly string[], recommendedAction: string): void {
  if (users.length === 0) return;
  const more = users.length > namedMax ? ` and ${users.length - namedMax} more` : '';
  throw new ApiError({
    code: 'US1030',
    armCode: 'Conflict',
    httpStatus: 409,
    target: name,
    message: `${kind} ${name} is in use by ${users.slice(0, namedMax).join(', ')}${more}`,
    possibleCauses: 'It is still needed by what the message names.',
    recommendedAction,
    details: { users },
  });
}
