import type { InvocationOutcome, TypedData } from '../contract.js';

/** Payload bounds by policy: the real host moves larger messages through blobs, slowly; ours refuses the absurd. */
export const payloadWarnBytes = 45 * 1024;
export const payloadMaxBytes = 1024 * 1024;
/** The real extension refuses a longer custom status (UTF-16). */
export const customStatusMaxBytes = 16 * 1024;

/**
 * The activity's input as the real host hands it over: everything passes through .NET's string conversion, so that
 * `true` arrives as the text "True". Without strict types a boolean stays one.
 */
export function activityInput(inputJson: string | null, strictTypes: boolean): TypedData {
  if (inputJson === null) return {};
  const value: unknown = JSON.parse(inputJson);
  switch (typeof value) {
    case 'string':
      return { string: value };
    case 'boolean':
      return strictTypes ? { string: value ? 'True' : 'False' } : { json: inputJson };
    case 'number':
      return { string: String(value) };
    default:
      return value === null ? {} : { string: inputJson };
  }
}

/** A function's return value as JSON text; null where it returned nothing. */
export function resultJson(value: TypedData | undefined): string | null {
  if (value === undefined) return null;
  if (value.string !== undefined) return JSON.stringify(value.string);
  if (value.json !== undefined) return value.json;
  if (value.int !== undefined) return String(value.int);
  if (value.double !== undefined) return String(value.double);
  if (value.bytes !== undefined) return JSON.stringify(value.bytes.toString('base64'));
  return null;
}

const outOfProcessLabel = '\n\n$OutOfProcData$:';

/** What an orchestrator or entity function answered: its state document, or the message of a failure without one. */
export function stateDocument(outcome: InvocationOutcome): { json: string } | { failure: string } {
  if (outcome.kind === 'returned') {
    const json = outcome.returnValue?.json ?? outcome.returnValue?.string;
    return json === undefined ? { failure: 'the function returned no orchestration state' } : { json };
  }
  const { message } = outcome.error;
  const at = message.indexOf(outOfProcessLabel);
  return at < 0 ? { failure: message } : { json: message.slice(at + outOfProcessLabel.length) };
}

export function failureDetails(error: Error): string {
  return `Result: Failure\nException: ${error.message}\nStack: ${error.stack ?? ''}`;
}
