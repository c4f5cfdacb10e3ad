/**
 * Runs all works side by side. When one fails the others are told to stop, and the first failure is thrown only after every
 * one has ended: nothing goes on behind the caller's back.
 */
export async function allOrNone<T>(
  works: readonly ((signal: AbortSignal) => Promise<T>)[],
  signal: AbortSignal,
): Promise<T[]> {
  const cancel = new AbortController();
  const both = AbortSignal.any([signal, cancel.signal]);
  let firstFailure: { error: unknown } | undefined;
  const results = await Promise.all(
    works.map(async (work) => {
      try {
        return { value: await work(both) };
      } catch (error) {
        firstFailure ??= { error };
        cancel.abort(error);
        return undefined;
      }
    }),
  );
  if (firstFailure) throw firstFailure.error;
  return results.flatMap((result) => (result ? [result.value] : []));
}
