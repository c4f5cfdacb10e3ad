import { UnderstudyError, type RetryAdvice } from '../errors.js';

/**
 * An error as it travels through orchestration history, where only text survives: activities append it to the message of
 * what they throw, orchestrators read it back.
 */
export interface WorkflowFailure {
  code: string;
  message: string;
  possibleCauses: string;
  recommendedAction: string;
  retry: RetryAdvice;
}

const marker = '#understudy-failure:';

/** An error of unknown kind may pass: it is tried again. */
export function failureOf(error: unknown): WorkflowFailure {
  if (error instanceof UnderstudyError) {
    const { code, message, possibleCauses, recommendedAction, retry } = error;
    return { code, message, possibleCauses, recommendedAction, retry };
  }
  return {
    code: hasCode(error) ? error.code : 'US3000',
    message: error instanceof Error ? error.message : String(error),
    possibleCauses: 'A fault outside of Understudy, for example in the network or in storage.',
    recommendedAction: 'It is tried again by itself. If it stays, see the log of the app at this time.',
    retry: 'later',
  };
}

const hasCode = (error: unknown): error is { code: string } =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' && /^US\d{4}$/.test(error.code);

/** The error to throw out of an activity. */
export function failureToError(error: unknown): Error {
  const failure = failureOf(error);
  return new Error(`${failure.message}\n${marker}${JSON.stringify(failure)}`, { cause: error });
}

/** What an orchestrator caught, as the activity meant it. */
export function failureFromError(error: unknown): WorkflowFailure {
  const text = error instanceof Error ? error.message : String(error);
  const start = text.indexOf(marker);
  if (start < 0) return failureOf(error);
  const line = text.slice(start + marker.length).split('\n')[0] ?? '';
  try {
    return JSON.parse(line) as WorkflowFailure;
  } catch (cause) {
    return failureOf(new Error(text, { cause }));
  }
}

/** For places that keep a message alone: it begins with the code, as some messages do by themselves. */
export const messageWithCode = ({ code, message }: Pick<WorkflowFailure, 'code' | 'message'>): string =>
  /^US\d{4}\b/.test(message) ? message : `${code} ${message}`;
