/**
 * Names of the activities with their inputs and outputs: all that orchestrators know of them. Inputs and outputs are plain
 * JSON objects, small ones; bytes never pass here.
 */
export interface ActivityDefinition<Input, Output> {
  readonly name: string;
  /** Never set: carry the types. */
  readonly inputType?: Input;
  readonly outputType?: Output;
}

export const activity = <Input, Output>(name: string): ActivityDefinition<Input, Output> => ({ name });
