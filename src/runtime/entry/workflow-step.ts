import type { Invocation, Storage } from "#runtime/entry/invocation.ts";

const { apply } = Reflect;

/**
 * A Workflow's `step` whose callbacks run as what they are part of: the engine calls them from another process's or isolate's
 * point of view, and nothing would know whose log they write.
 */
export function stepWithin(step: unknown, invocation: Invocation, storage: Storage): unknown {
  if ((typeof step !== "object" && typeof step !== "function") || step === null) return step;
  return new Proxy(step, {
    get(target, property): unknown {
      const value: unknown = Reflect.get(target, property, target);
      if (typeof value !== "function") return value;
      return (...args: unknown[]): unknown =>
        apply(
          value,
          target,
          args.map((arg) => carried(arg, 0)),
        );
    },
  });

  /** Callbacks are arguments, or members of configurations (`retries.delay`, `rollback`). */
  function carried(value: unknown, depth: number): unknown {
    if (typeof value === "function")
      return (...args: unknown[]): unknown => storage.run(invocation, apply, value, undefined, args);
    if (typeof value !== "object" || value === null || depth > 1) return value;
    if (Object.getPrototypeOf(value) !== Object.prototype) return value;
    return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, carried(member, depth + 1)]));
  }
}

/** How the engine ends a `run()` whose instance goes on later, or not at all. */
export function isWorkflowRest(error: unknown): boolean {
  return (
    error instanceof Error && (error.name === "WorkflowAbortedError" || /^WorkflowAbortedError\b/.test(error.message))
  );
}
