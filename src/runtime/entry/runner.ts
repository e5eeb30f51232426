import { Invocation, type Recorder } from "#runtime/entry/invocation.ts";

/** `AsyncLocalStorage` as far as it is used. */
export type Storage = {
  run<A extends unknown[], R>(store: Invocation | undefined, callback: (...args: A) => R, ...args: A): R;
  getStore(): Invocation | undefined;
};

// User code may replace these later; what runs around it must not notice.
const { apply } = Reflect;
const { then } = Promise.prototype;

/** Runs the user's functions as invocations: their results and errors pass through untouched and are only looked at. */
export class Runner {
  readonly recorder: Recorder;
  readonly storage: Storage;
  /** The invocation whose WorkerEntrypoint is being constructed right now. */
  constructing: Invocation | undefined = undefined;

  constructor(recorder: Recorder, storage: Storage) {
    this.recorder = recorder;
    this.storage = storage;
  }

  /** What is running, as far as it is known. */
  get current(): Invocation | undefined {
    return this.storage.getStore() ?? this.constructing;
  }

  /** Calls `fn` as the handler of `invocation`. */
  run(invocation: Invocation, fn: Function, self: unknown, args: unknown[]): unknown {
    this.recorder.inFlight++;
    let result: unknown;
    try {
      result = this.storage.run(invocation, apply, fn, self, args);
    } catch (error) {
      this.#failed(invocation, error);
      throw error;
    }
    // The promise itself is handed on: what is attached here neither delays it nor marks its rejection as handled for others.
    if (result instanceof Promise) {
      apply(then, result, [
        (value: unknown) => this.#succeeded(invocation, value),
        (error: unknown) => this.#failed(invocation, error),
      ]);
    } else this.#succeeded(invocation, result);
    return result;
  }

  /** Counts `work` as background work of whatever is running. */
  track(work: unknown): void {
    if (!(work instanceof Promise)) return;
    const invocation = this.current;
    const { recorder } = this;
    recorder.opened(invocation);
    apply(then, work, [
      () => recorder.closed(invocation),
      (error: unknown) => {
        recorder.exception(invocation, error);
        recorder.closed(invocation);
      },
    ]);
  }

  #succeeded(invocation: Invocation, value: unknown): void {
    this.recorder.inFlight--;
    if (invocation.handler === "fetch") {
      if (value instanceof Response) invocation.status = value.status;
      else {
        // workerd finds this out after us and answers 500.
        invocation.outcome = "exception";
        this.recorder.exception(invocation, new TypeError("Incorrect type for Promise: the Promise did not resolve to 'Response'."));
      }
    }
    this.recorder.settled(invocation);
  }

  #failed(invocation: Invocation, error: unknown): void {
    this.recorder.inFlight--;
    invocation.outcome = "exception";
    this.recorder.exception(invocation, error);
    this.recorder.settled(invocation);
  }
}
