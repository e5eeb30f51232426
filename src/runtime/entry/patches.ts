import type { Invocation } from "#runtime/entry/invocation.ts";
import type { Storage } from "#runtime/entry/invocation.ts";

const { apply } = Reflect;

/** Errors thrown by timer callbacks reach nobody but workerd itself: `report` is told, then they go on as before. */
export function patchTimers(storage: Storage, report: (thrown: unknown) => void): void {
  const scope = globalThis as unknown as Record<string, unknown>;
  for (const name of ["setTimeout", "setInterval"]) {
    const original = scope[name];
    if (typeof original !== "function") continue;
    const watched = {
      [name](this: unknown, callback: unknown, ...rest: unknown[]): unknown {
        if (typeof callback !== "function" || storage.getStore() === undefined)
          return apply(original, this, [callback, ...rest]);
        const guarded = function (this: unknown, ...args: unknown[]): unknown {
          try {
            return apply(callback, this, args);
          } catch (error) {
            report(error);
            throw error;
          }
        };
        return apply(original, this, [guarded, ...rest]);
      },
    }[name];
    if (!watched) continue;
    // `util.promisify(setTimeout)` looks for a symbol on it.
    Object.defineProperties(watched, Object.getOwnPropertyDescriptors(original));
    scope[name] = watched;
  }
}

/** A WebSocket's listeners belong to the invocation that added them; workerd calls them outside of any. */
export function patchWebSocket(storage: Storage): void {
  const prototype = WebSocket.prototype as unknown as EventTarget;
  const { addEventListener, removeEventListener } = prototype;
  /** For each invocation its listeners' stand-ins, so that adding one twice stays one and removing it finds it. */
  const standIns = new WeakMap<Invocation, WeakMap<Function, Function>>();
  const owners = new WeakMap<EventTarget, Invocation>();
  const standIn = (invocation: Invocation, listener: Function): Function => {
    let known = standIns.get(invocation);
    if (!known) standIns.set(invocation, (known = new WeakMap()));
    let found = known.get(listener);
    if (!found) {
      found = function (this: unknown, ...args: unknown[]): unknown {
        return storage.run(invocation, apply, listener, this, args);
      };
      known.set(listener, found);
    }
    return found;
  };
  define(prototype, "addEventListener", function (this: EventTarget, ...args: unknown[]): unknown {
    const invocation = owners.get(this) ?? storage.getStore();
    if (typeof args[1] === "function" && invocation) {
      owners.set(this, invocation);
      args[1] = standIn(invocation, args[1]);
    }
    return apply(addEventListener, this, args);
  });
  define(prototype, "removeEventListener", function (this: EventTarget, ...args: unknown[]): unknown {
    const invocation = owners.get(this);
    const known = invocation && typeof args[1] === "function" ? standIns.get(invocation)?.get(args[1]) : undefined;
    if (known) args[1] = known;
    return apply(removeEventListener, this, args);
  });
}

function define(owner: object, name: string, value: Function): void {
  Object.defineProperty(value, "name", { value: name, configurable: true });
  Object.defineProperty(owner, name, { value, writable: true, enumerable: false, configurable: true });
}
