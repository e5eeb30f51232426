import { isWorkflowRest, stepWithin } from "#runtime/entry/workflow-step.ts";
import type { Invocation, Recorder, Storage } from "#runtime/entry/invocation.ts";

// User code may replace these later; what runs around it must not notice.
const { apply } = Reflect;
const { then } = Promise.prototype;
const { addEventListener } = EventTarget.prototype;

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

  /** Calls `fn` as the handler of `invocation`. What it returns and throws is handed on as it is. */
  run(invocation: Invocation, fn: Function, self: unknown, args: unknown[]): unknown {
    const result = this.#call(invocation, fn, self, args);
    if (!(result instanceof Promise)) this.#succeeded(invocation, result);
    else {
      // The promise itself is handed on: what is attached here neither delays it nor marks its rejection as handled.
      void apply(then, result, [
        (value: unknown) => this.#succeeded(invocation, value),
        (error: unknown) => this.#failed(invocation, error),
      ]);
    }
    return result;
  }

  /** The same for a `fetch` handler without state, whose failure must become an answer. */
  runFetch(invocation: Invocation, fn: Function, self: unknown, args: unknown[]): unknown {
    let result: unknown;
    try {
      result = this.#call(invocation, fn, self, args);
    } catch (error) {
      throw answerable(error);
    }
    if (result instanceof Promise) {
      return apply(then, result, [
        (value: unknown) => {
          this.#succeeded(invocation, value);
          return value;
        },
        (error: unknown) => {
          this.#failed(invocation, error);
          throw answerable(error);
        },
      ]);
    }
    this.#succeeded(invocation, result);
    return result;
  }

  #call(invocation: Invocation, fn: Function, self: unknown, args: unknown[]): unknown {
    this.recorder.inFlight++;
    if (invocation.executionModel === "workflow" && invocation.handler === "run")
      args[1] = stepWithin(args[1], invocation, this.storage);
    if (invocation.handler === "fetch" && this.recorder.outbox.detail === "full") this.#watchClient(invocation);
    try {
      return this.storage.run(invocation, apply, fn, self, args);
    } catch (error) {
      this.#failed(invocation, error);
      throw error;
    }
  }

  /**
   * workerd lets go of a handler whose client left: its promise never settles. That the request's signal says so first is
   * switched on in every module Worker (`worker-config.ts`), but looked at only while somebody listens, since it costs.
   */
  #watchClient(invocation: Invocation): void {
    const signal = invocation.subject instanceof Request ? invocation.subject.signal : undefined;
    if (signal) apply(addEventListener, signal, ["abort", () => this.recorder.canceled(invocation)]);
  }

  /** Counts `work` as background work of whatever is running. */
  track(work: unknown): void {
    if (!(work instanceof Promise)) return;
    const invocation = this.current;
    const { recorder } = this;
    recorder.opened(invocation);
    void apply(then, work, [
      () => recorder.closed(invocation),
      (error: unknown) => {
        recorder.exception(invocation, error);
        recorder.closed(invocation);
      },
    ]);
  }

  #succeeded(invocation: Invocation, value: unknown): void {
    if (invocation.done) return;
    this.recorder.inFlight--;
    if (invocation.handler === "fetch") {
      if (value instanceof Response) invocation.status = value.status;
      else {
        // workerd finds this out after us and answers 500.
        invocation.outcome = "exception";
        this.recorder.exception(
          invocation,
          new TypeError("Incorrect type for Promise: the Promise did not resolve to 'Response'."),
        );
      }
    }
    this.recorder.settled(invocation);
  }

  #failed(invocation: Invocation, error: unknown): void {
    if (isWorkflowRest(error)) return this.#succeeded(invocation, undefined);
    if (invocation.done) return this.recorder.exception(invocation, error);
    this.recorder.inFlight--;
    invocation.outcome = "exception";
    this.recorder.exception(invocation, error);
    this.recorder.settled(invocation);
  }
}

/**
 * For an error that says "disconnected" (workerd marks it `retryable`) workerd closes the client's connection without an
 * answer. One that says the same without the mark becomes the 500 that any other error becomes.
 */
function answerable(error: unknown): unknown {
  if (!(error instanceof Error) || (error as { retryable?: unknown }).retryable !== true) return error;
  const plain = new Error(error.message, { cause: error });
  plain.name = error.name;
  return plain;
}
