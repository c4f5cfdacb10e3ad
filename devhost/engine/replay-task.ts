/** A .NET task's stand-in; continuations run at once, in order, as the framework's scheduler does. */
export class Task {
  #settled = false;
  #failed = false;
  #continuations: ((failed: boolean) => void)[] = [];

  get settled(): boolean {
    return this.#settled;
  }

  settle(failed: boolean): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#failed = failed;
    const continuations = this.#continuations;
    this.#continuations = [];
    for (const continuation of continuations) continuation(failed);
  }

  then(continuation: (failed: boolean) => void): void {
    if (this.#settled) continuation(this.#failed);
    else this.#continuations.push(continuation);
  }
}

export function settledTask(): Task {
  const task = new Task();
  task.settle(false);
  return task;
}
