import type { ExecutionModel } from "#products/logs/schema.ts";
import type { Invocation } from "#runtime/entry/invocation.ts";
import type { Runner } from "#runtime/entry/runner.ts";
import { pacedAlarm } from "#runtime/entry/paced-alarm.ts";
import { handlerNames } from "#runtime/entry/trigger.ts";
import { sameShape, type Before } from "#runtime/entry/wrap-object.ts";

// oxlint-disable-next-line typescript/no-explicit-any -- any class of the user's, with whatever its constructor takes.
type AnyClass = new (...args: any[]) => object;

/**
 * An exported class, each of whose methods and getters runs as an invocation when it is called from outside. `once`: workerd makes
 * an instance for every call (WorkerEntrypoint).
 */
export function wrapClass(
  Original: AnyClass,
  entrypoint: string,
  runner: Runner,
  options: { once: boolean; before: Before; executionModel: ExecutionModel | undefined },
): AnyClass {
  const { recorder } = runner;
  const maker: Maker = {
    begin(ctx, env) {
      options.before(env, ctx);
      return recorder.begin(entrypoint, "constructor", undefined, options.executionModel);
    },
    next: (name, subject) => recorder.begin(entrypoint, name, subject, options.executionModel),
    failed(invocation, error) {
      invocation.outcome = "exception";
      recorder.exception(invocation, error);
      recorder.settled(invocation);
    },
  };
  const Wrapped = options.once ? wrapOnce(Original, runner, maker) : wrapLasting(Original, runner, maker);
  Object.defineProperty(Wrapped, "name", { value: Original.name, configurable: true });
  return Wrapped;
}

/** Invocations of one exported class. */
type Maker = {
  begin: (ctx: unknown, env: unknown) => Invocation;
  next: (name: string, subject: unknown) => Invocation;
  failed: (invocation: Invocation, error: unknown) => void;
};

/**
 * Made for every request: no more than a plain subclass, and a variable in place of an asynchronous context. workerd finds the
 * base class that it looks for, statics are inherited, `instanceof` and `constructor` say what they said.
 */
function wrapOnce(Original: AnyClass, runner: Runner, { begin, next, failed }: Maker): AnyClass {
  const { storage } = runner;
  let ownHandlers: string[] | undefined;

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
      const invocation = state.pending ?? next(name, args[0]);
      state.pending = undefined;
      state.only = invocation;
      invocation.handler = name;
      invocation.subject = args[0];
      invocation.instance = this;
      const run = name === "fetch" ? runner.runFetch : runner.run;
      return run.call(runner, invocation, method, this, args);
    };
    return sameShape(wrapper, method);
  }

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

  const original = Original.prototype as object;
  // What the class inherits is no member of its own here either: libraries look which of their methods a class replaces.
  const inherited = Object.create(original) as object;
  Object.setPrototypeOf(Once.prototype, inherited);
  for (const [name, descriptor] of membersOf(original)) {
    const { value, get } = descriptor;
    const owner = Object.hasOwn(original, name) ? Once.prototype : inherited;
    if (typeof value === "function") {
      Object.defineProperty(owner, name, { ...descriptor, value: wrapMethod(name, value) });
    } else if (get) {
      Object.defineProperty(owner, name, { ...descriptor, get: wrapMethod(name, get) as () => unknown });
    }
  }
  Object.defineProperty(Once.prototype, "constructor", { value: Original, writable: true, configurable: true });
  return Once;
}

/**
 * Lives long, and may begin something in its constructor that goes on. workerd gets a Proxy of the instance, whose methods run as
 * invocations; code sees the instance itself, with the very functions that it wrote: libraries keep things by them.
 */
function wrapLasting(Original: AnyClass, runner: Runner, { begin, next, failed }: Maker): AnyClass {
  const { storage } = runner;

  // A function, since `super()` cannot be called in `storage.run`.
  function Lasting(this: unknown, ...args: unknown[]): object {
    const invocation = begin(args[0], args[1]);
    try {
      const construct = () => Reflect.construct(Original, args);
      return outside(storage.run(invocation, construct), invocation);
    } catch (error) {
      failed(invocation, error);
      throw error;
    }
  }

  function outside(instance: object, constructing: Invocation): object {
    /** The constructor's invocation, until the first call from outside goes on with it. */
    let pending: Invocation | undefined = constructing;
    const wrappers = new Map<Function, Function>();

    function call(name: string, method: Function, args: unknown[]): unknown {
      if (storage.getStore()?.instance === instance) return Reflect.apply(method, instance, args);
      const invocation = pending ?? next(name, args[0]);
      pending = undefined;
      invocation.handler = name;
      invocation.subject = args[0];
      invocation.instance = instance;
      return runner.run(invocation, method, instance, args);
    }

    function wrapperOf(name: string, method: Function): Function {
      const known = wrappers.get(method);
      if (known) return known;
      const plain = (...args: unknown[]): unknown => call(name, method, args);
      const wrapper = name === "alarm" ? pacedAlarm(plain, runner, instance) : plain;
      wrappers.set(method, sameShape(wrapper, method));
      return wrapper;
    }

    return new Proxy(instance, {
      get(target, property): unknown {
        if (typeof property === "symbol" || property === "constructor") return Reflect.get(target, property, target);
        const getter = getterOf(target, property);
        if (getter) return call(property, getter, []);
        const value: unknown = Reflect.get(target, property, target);
        return typeof value === "function" ? wrapperOf(property, value) : value;
      },
    });
  }

  Object.defineProperty(Lasting, "prototype", { value: Original.prototype });
  Object.setPrototypeOf(Lasting, Original);
  return Lasting as unknown as AnyClass;
}

/** The getter behind a property of a class, if it is one that somebody wrote. */
function getterOf(instance: object, name: string): Function | undefined {
  for (let at: object | null = instance; at !== null; at = Object.getPrototypeOf(at) as object | null) {
    const descriptor = Object.getOwnPropertyDescriptor(at, name);
    if (descriptor) return descriptor.get && !isNative(at) ? descriptor.get : undefined;
  }
  return undefined;
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
