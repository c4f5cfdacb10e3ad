/**
 * Starts `step` for up to `atOnce` items at a time and gives the results in the items' order, so that the next ones are
 * under way while the caller works on the last. The first error, in order, ends it; no step is left running behind.
 */
export async function* mapInOrder<Item, Result>(
  source: AsyncIterable<Item> | Iterable<Item>,
  atOnce: number,
  step: (item: Item) => Promise<Result>,
): AsyncGenerator<Result, void> {
  const pending: Promise<Result>[] = [];
  try {
    for await (const item of source) {
      const result = step(item);
      // Its error is thrown where it is awaited, in order.
      result.catch(() => undefined);
      pending.push(result);
      const oldest = pending.length >= atOnce ? pending.shift() : undefined;
      if (oldest !== undefined) yield await oldest;
    }
    for (let oldest = pending.shift(); oldest !== undefined; oldest = pending.shift()) yield await oldest;
  } finally {
    await Promise.allSettled(pending);
  }
}
