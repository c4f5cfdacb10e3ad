/**
 * Runs `work` on each item, at most `atOnce` at a time, and takes the next item only when there is room: what is in memory
 * is bounded. Rejects with the first failure, after everything under way has ended.
 */
export async function forEachBounded<T>(
  items: AsyncIterable<T>,
  atOnce: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const running = new Set<Promise<void>>();
  let failed: { error: unknown } | undefined;
  try {
    for await (const item of items) {
      const task: Promise<void> = work(item)
        .catch((error: unknown) => {
          failed ??= { error };
        })
        .then(() => {
          running.delete(task);
        });
      running.add(task);
      if (running.size >= atOnce) await Promise.race(running);
      if (isSet(failed)) break;
    }
  } finally {
    await Promise.all(running);
  }
  if (isSet(failed)) throw failed.error;
}

/** `failed` is set inside of callbacks, which control flow analysis does not see. */
const isSet = (failed: { error: unknown } | undefined): failed is { error: unknown } => failed !== undefined;
