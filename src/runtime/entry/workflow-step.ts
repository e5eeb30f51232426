import type { Invocation, Storage } from "#runtime/entry/invocation.ts";

const { apply } = Reflect;
const { now } = Date;
const reject = Promise.reject.bind(Promise);

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
      return (...args: unknown[]): unknown => {
        if (waitMs(property, args) > longestWaitMs) return reject(tooLong(String(property), String(args[0])));
        return apply(
          value,
          target,
          args.map((arg) => carried(arg, 0)),
        );
      };
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

/** https://developers.cloudflare.com/workflows/reference/limits/. */
const longestWaitMs = 365 * 24 * 60 * 60 * 1000;
const second = 1000;
const day = 24 * 60 * 60 * second;
const units: Record<string, number> = {
  second,
  minute: 60 * second,
  hour: 60 * 60 * second,
  day,
  week: 7 * day,
  month: 30 * day,
  year: 365 * day,
};

/** How long a step would wait; 0 for one that does not, and for what the engine will not understand. */
function waitMs(step: string | symbol, args: readonly unknown[]): number {
  if (step === "sleep") return durationMs(args[1]);
  if (step === "waitForEvent") return durationMs((args[1] as { timeout?: unknown } | undefined)?.timeout);
  return step === "sleepUntil" ? Number(new Date(args[1] as Date | number)) - now() : 0;
}

function durationMs(duration: unknown): number {
  if (typeof duration === "number") return duration;
  if (typeof duration !== "string") return 0;
  const [, count = "", unit = ""] = /^\s*(\d+(?:\.\d+)?)\s*([a-z]+?)s?\s*$/.exec(duration) ?? [];
  return Number(count) * (units[unit] ?? 0);
}

/** As the engine refuses what cannot be tried again. */
function tooLong(step: string, name: string): Error {
  const error = new Error(`step.${step} "${name}" waits longer than 365 days, which is the most`);
  error.name = "WorkflowFatalError";
  return error;
}

/** How the engine ends a `run()` whose instance goes on later, or not at all. */
export function isWorkflowRest(error: unknown): boolean {
  return (
    error instanceof Error && (error.name === "WorkflowAbortedError" || /^WorkflowAbortedError\b/.test(error.message))
  );
}
