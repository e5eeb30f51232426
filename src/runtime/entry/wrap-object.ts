import { handlerNames } from "#runtime/entry/trigger.ts";
import type { Runner } from "#runtime/entry/runner.ts";

/** `fn` seen from outside: workerd reads the number of parameters of a function that is called over RPC. */
export function sameShape<F extends Function>(wrapper: F, fn: Function): F {
  Object.defineProperty(wrapper, "name", { value: fn.name, configurable: true });
  Object.defineProperty(wrapper, "length", { value: fn.length, configurable: true });
  return wrapper;
}

/** Called before each invocation, with the `env` and `ctx` that it got. */
export type Before = (env: unknown, ctx: unknown) => void;

/**
 * An exported object, each of whose functions runs as an invocation. It has the handlers that the original has, no more and no
 * fewer, for workerd looks at which there are; `this` in them stays the original. What has no handlers is returned as it is.
 */
export function wrapObject(original: object, entrypoint: string, runner: Runner, before: Before): object {
  const functions = functionsOf(original);
  if (functions.size === 0) return original;
  const wrapped: object = Object.create(original);
  // Only own properties can be read over RPC.
  for (const name of Object.keys(original)) {
    Object.defineProperty(wrapped, name, { get: () => Reflect.get(original, name) as unknown, configurable: true });
  }
  for (const [name, fn] of functions) {
    const wrapper = function (...args: unknown[]): unknown {
      before(args[1], args[2]);
      const invocation = runner.recorder.begin(entrypoint, name, args[0]);
      const run = name === "fetch" ? runner.runFetch : runner.run;
      return run.call(runner, invocation, fn, original, args);
    };
    Object.defineProperty(wrapped, name, {
      value: sameShape(wrapper, fn),
      writable: true,
      enumerable: true,
      configurable: true,
    });
  }
  return wrapped;
}

/** What can be called from outside: handlers wherever they come from (Hono's are arrow functions, itty-router's a Proxy's), and a plain object's own functions by RPC. */
function functionsOf(original: object): Map<string, Function> {
  const found = new Map<string, Function>();
  for (const name of handlerNames) {
    const value: unknown = Reflect.get(original, name);
    if (typeof value === "function") found.set(name, value);
  }
  const prototype: unknown = Object.getPrototypeOf(original);
  const plain = prototype === null || prototype === Object.prototype;
  if (found.size === 0 && !plain) return found;
  for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(original))) {
    if (typeof value === "function" && !found.has(name)) found.set(name, value);
  }
  return found;
}
