import type { ExecutionModel } from "#products/logs/schema.ts";
import type { Invocation } from "#runtime/entry/invocation.ts";
import type { Runner } from "#runtime/entry/runner.ts";
import { pacedAlarm } from "#runtime/entry/paced-alarm.ts";
import { handlerNames } from "#runtime/entry/trigger.ts";
import { sameShape, type Before } from "#runtime/entry/wrap-object.ts";

// oxlint-disable-next-line typescript/no-explicit-any -- any class of the user's, with whatever its constructor takes.
type AnyClass = new (...args: any[]) => object;

/**
 * An exported class, each of whose methods and getters runs as an invocation when it is called from outside. A subclass:
 * workerd finds the base class that it looks for, statics are inherited, `instanceof` and `constructor` say what they said.
 * `once`: workerd makes an instance for every call (WorkerEntrypoint).
 */
export function wrapClass(
  Original: AnyClass,
  entrypoint: string,
  runner: Runner,
  options: { once: boolean; before: Before; executionModel: ExecutionModel | undefined },
): AnyClass {
  const { recorder, storage } = runner;
  let ownHandlers: string[] | undefined;

  function begin(ctx: unknown, env: unknown): Invocation {
    options.before(env, ctx);
    return recorder.begin(entrypoint, "constructor", undefined, options.executionModel);
  }

  function failed(invocation: Invocation, error: unknown): void {
    invocation.outcome = "exception";
    recorder.exception(invocation, error);
    recorder.settled(invocation);
  }

  function made(instance: object, invocation: Invocation): void {
    const known = Stamp.of(instance);
    if (known) known.pending = invocation;
    else new Stamp(instance, { pending: invocation, only: undefined });
    ownHandlers ??= handlerNames.filter((name) => Object.hasOwn(instance, name));
    for (const name of ownHandlers) wrapOwn(instance, name);
  }

  /** A handler that is a class field. */
  function wrapOwn(instance: object, name: string): void {
    const descriptor = Object.getOwnPropertyDescriptor(instance, name);
    if (typeof descriptor?.value !== "function" || !descriptor.configurable) return;
    Object.defineProperty(instance, name, { ...descriptor, value: wrapMethod(name, descriptor.value) });
  }

  function wrapMethod(name: string, method: Function): Function {
    const wrapper = function (this: object, ...args: unknown[]): unknown {
      const state = Stamp.of(this);
      if (!state || storage.getStore()?.instance === this) return Reflect.apply(method, this, args);
      // A call back into an instance that has its invocation, from where the context was lost (an RpcTarget it gave away).
      if (state.only) return storage.run(state.only, Reflect.apply, method, this, args);
      const invocation = state.pending ?? recorder.begin(entrypoint, name, args[0], options.executionModel);
      state.pending = undefined;
      if (options.once) state.only = invocation;
      invocation.handler = name;
      invocation.subject = args[0];
      invocation.instance = this;
      const run = options.once && name === "fetch" ? runner.runFetch : runner.run;
      return run.call(runner, invocation, method, this, args);
    };
    return sameShape(name === "alarm" && !options.once ? pacedAlarm(wrapper, runner) : wrapper, method);
  }

  /** Made for every request: no more than a plain subclass, and a variable in place of an asynchronous context. */
  class Once extends Original {
    constructor(...args: unknown[]) {
      const invocation = begin(args[0], args[1]);
      runner.constructing = invocation;
      try {
        super(...args);
      } catch (error) {
        failed(invocation, error);
        throw error;
      } finally {
        runner.constructing = undefined;
      }
      made(this, invocation);
    }
  }

  /** Lives long, and may begin something in its constructor that goes on. A function, since `super()` cannot be called in `storage.run`. */
  function Lasting(this: unknown, ...args: unknown[]): object {
    const invocation = begin(args[0], args[1]);
    const construct = () => Reflect.construct(Original, args, new.target ?? Lasting) as object;
    try {
      const instance = storage.run(invocation, construct);
      made(instance, invocation);
      return instance;
    } catch (error) {
      failed(invocation, error);
      throw error;
    }
  }

  const Wrapped = options.once ? Once : (Lasting as unknown as AnyClass);
  const prototype: object = options.once ? Once.prototype : (Object.create(Original.prototype as object) as object);
  for (const [name, descriptor] of membersOf(Original.prototype as object)) {
    const { value, get } = descriptor;
    if (typeof value === "function") {
      Object.defineProperty(prototype, name, { ...descriptor, value: wrapMethod(name, value) });
    } else if (get) {
      Object.defineProperty(prototype, name, { ...descriptor, get: wrapMethod(name, get) as () => unknown });
    }
  }
  Object.defineProperty(prototype, "constructor", { value: Original, writable: true, configurable: true });
  if (!options.once) {
    Object.defineProperty(Lasting, "prototype", { value: prototype });
    Object.setPrototypeOf(Lasting, Original);
  }
  Object.defineProperty(Wrapped, "name", { value: Original.name, configurable: true });
  return Wrapped;
}

/** What a wrapped instance remembers. */
type InstanceState = {
  /** The constructor's invocation, until the first call from outside goes on with it. */
  pending: Invocation | undefined;
  /** For a WorkerEntrypoint the one invocation that it was made for. */
  only: Invocation | undefined;
};

class Anything {
  constructor(instance: object) {
    // oxlint-disable-next-line no-constructor-return -- so that a subclass puts its private field on `instance`.
    return instance;
  }
}

/**
 * An instance's state, in a private field that is put on it from outside: nothing of it can be seen, it works on a Proxy that
 * a constructor returned, and unlike an entry of a WeakMap it costs the garbage collector nothing.
 */
class Stamp extends Anything {
  #state: InstanceState;

  constructor(instance: object, state: InstanceState) {
    super(instance);
    this.#state = state;
  }

  static of(instance: object): InstanceState | undefined {
    return #state in instance ? instance.#state : undefined;
  }
}

/** Whether `value` was meant as a class: it extends something, or its instances can do something. */
export function isClass(value: Function): value is AnyClass {
  const { prototype } = value as { prototype?: unknown };
  if (typeof prototype !== "object" || prototype === null || !Object.hasOwn(prototype, "constructor")) return false;
  if ((prototype as { constructor: unknown }).constructor !== value) return false;
  return Object.getPrototypeOf(value) !== Function.prototype || membersOf(prototype).size > 0;
}

/** Methods and accessors of a class and of those it extends, down to the first that workerd or JavaScript provides. */
function membersOf(start: object): Map<string, PropertyDescriptor> {
  const found = new Map<string, PropertyDescriptor>();
  for (let at: object | null = start; at !== null && !isNative(at); at = Object.getPrototypeOf(at) as object | null) {
    for (const [name, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(at))) {
      if (name !== "constructor" && !found.has(name)) found.set(name, descriptor);
    }
  }
  return found;
}

const sourceOf = Function.prototype.toString;

function isNative(prototype: object): boolean {
  const { constructor } = prototype;
  return typeof constructor === "function" && sourceOf.call(constructor).includes("[native code]");
}
