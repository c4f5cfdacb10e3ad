import type { z } from 'zod';

/**
 * An SDK model as it travels: dates are ISO-8601 strings, read-only properties are ours to write, and an absent property may be
 * spelt `undefined` (JSON drops it). Answers are typed by it, so that a misspelt property does not compile.
 */
export type Wire<T> = T extends Date
  ? string
  : T extends readonly (infer Element)[]
    ? Wire<Element>[]
    : T extends object
      ? { -readonly [Key in keyof T]: Wire<T[Key]> | undefined }
      : T;

/** Schemas of a request model's properties: a name that the SDK's model does not have does not compile. */
export type ShapeOf<Model> = { [Key in keyof Model]?: z.ZodType };
