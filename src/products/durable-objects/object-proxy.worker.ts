import { DurableObject } from "cloudflare:workers";
import {
  brokerEntrypoint,
  brokerService,
  movedMessage,
  replacedText,
  trustHeader,
  updatedText,
  wakePath,
  watchMethod,
  type BrokerProps,
} from "#products/durable-objects/broker-protocol.ts";
import { localReads, reach, remotePath } from "#products/durable-objects/remote-path.ts";

/**
 * In a front: the class behind a native namespace. Each of its instances stands for the object of the same id, which lives
 * in the owner process of the script that has the class.
 */
type Env = { DEBUG: DebugPort } & Record<string, unknown>;
type DebugPort = {
  connect(address: string): { getEntrypoint(service: string, entrypoint: string, props: BrokerProps): unknown };
};
type Link = { stub: Record<string, unknown>; updated: boolean };
type Owner = { address: string; wake: Fetcher };

const limits = {
  /** How often a call that has not begun is sent again, each time after waiting for the owner. */
  attempts: 20,
  /** How long the supervisor is waited for, which may be just starting anew. */
  wakeMs: 15_000,
  wakePauseMs: 50,
};

/**
 * Until when an owner is taken to run, by its address, ms since 1970: it is not put to sleep so soon after an answer. Later
 * somebody asks before a call, since a call to a process that is gone could not be told from one that was cut off.
 */
const upUntilMs = new Map<string, number>();
/** How long after an answer that holds. */
let trustMs = 0;

export function proxyFor(namespace: string, ownerIndex: number) {
  return class ObjectProxy extends DurableObject<Env> {
    constructor(ctx: DurableObjectState, env: Env) {
      super(ctx, env);
      const owner: Owner = {
        address: env[`OWNER_${ownerIndex}`] as string,
        wake: env[`WAKE_${ownerIndex}`] as Fetcher,
      };
      const line = new Line(env.DEBUG, owner, { namespace, id: ctx.id.toString(), name: ctx.id.name });
      const isLocal = localReads();
      // oxlint-disable-next-line no-constructor-return -- every property stands for one of the object's.
      return new Proxy(this, {
        get(target, property): unknown {
          if (typeof property === "symbol" || isLocal(property)) return Reflect.get(target, property, target);
          if (property === "fetch") return async (request: Request) => line.fetch(request);
          return remotePath([property], {
            call: async (path, args) => line.run(async (stub) => reach(stub, path, args)),
            read: async (path) => line.run(async (stub) => reach(stub, path)),
          });
        },
      });
    }
  };
}

/** One object's connection to its owner. */
class Line {
  #link: Link | undefined;
  #waking: Promise<string> | undefined;
  readonly #debug: DebugPort;
  readonly #owner: Owner;
  readonly #props: BrokerProps;

  constructor(debug: DebugPort, owner: Owner, props: BrokerProps) {
    this.#debug = debug;
    this.#owner = owner;
    this.#props = props;
  }

  async fetch(request: Request): Promise<Response> {
    return this.run(async (stub) => (stub["fetch"] as (request: Request) => Promise<Response>)(request));
  }

  /** Runs one call. One that the owner says it has not begun is sent again once its successor is there. */
  async run<T>(call: (stub: Record<string, unknown>) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      // Nobody puts an owner to sleep while the supervisor is gone: what ran then still runs.
      if (Date.now() > (upUntilMs.get(this.#owner.address) ?? 0)) await this.#wake({ insist: attempt > 1 });
      const link = (this.#link ??= this.#open());
      try {
        const answer = await call(link.stub);
        this.#answered(link);
        return answer;
      } catch (error) {
        const verdict = judge(error);
        if (verdict === "theirs") {
          this.#answered(link);
          throw error;
        }
        if (this.#link === link) {
          this.#link = undefined;
          upUntilMs.delete(this.#owner.address);
        }
        // A process that was replaced had no time to say so to every call: whoever starts the next one knows.
        if (verdict === "lost")
          throw link.updated || (await this.#wake({ insist: true })) === replacedText ? codeUpdated() : error;
        if (attempt === limits.attempts) throw error;
      }
    }
  }

  #answered(link: Link): void {
    if (this.#link === link) upUntilMs.set(this.#owner.address, Date.now() + trustMs);
  }

  #open(): Link {
    const { address } = this.#owner;
    const stub = this.#debug.connect(address).getEntrypoint(brokerService, brokerEntrypoint, this.#props);
    const link: Link = { stub: stub as Record<string, unknown>, updated: false };
    const forget = () => {
      if (this.#link !== link) return;
      this.#link = undefined;
      upUntilMs.delete(address);
    };
    const watch = (link.stub[watchMethod] as () => Promise<unknown>)();
    const told = (why: unknown) => {
      link.updated = why === updatedText;
      forget();
    };
    watch.then(told, forget);
    return link;
  }

  async #wake({ insist }: { insist: boolean }): Promise<string> {
    this.#waking ??= this.#askForOwner(insist).finally(() => (this.#waking = undefined));
    return this.#waking;
  }

  async #askForOwner(insist: boolean): Promise<string> {
    const response = await this.#untilAsked(insist);
    if (!response) return "";
    const text = await response.text();
    if (!response.ok) throw new Error(text);
    trustMs = Number(response.headers.get(trustHeader) ?? 0);
    upUntilMs.set(this.#owner.address, Date.now() + trustMs);
    return text;
  }

  /** Undefined when there is nobody to be asked, and that was not insisted on. */
  async #untilAsked(insist: boolean): Promise<Response | undefined> {
    const end = Date.now() + limits.wakeMs;
    for (;;) {
      try {
        return await this.#owner.wake.fetch(`http://owner${wakePath}`, { method: "POST" });
      } catch (error) {
        if (!insist) return undefined;
        if (Date.now() > end) throw error;
        await scheduler.wait(limits.wakePauseMs);
      }
    }
  }
}

/** `moved`: nothing of the call has happened. `lost`: nobody knows. `theirs`: the object itself threw it. */
function judge(error: unknown): "moved" | "lost" | "theirs" {
  if (!(error instanceof Error)) return "theirs";
  if (error.message === movedMessage) return "moved";
  // An object whose own connection broke throws the same: then the owner is asked for in vain, and the error stays.
  return (error as { retryable?: unknown }).retryable === true ? "lost" : "theirs";
}

function codeUpdated(): Error {
  const error = new Error("Durable Object reset because its code was updated.");
  return Object.assign(error, { retryable: true, durableObjectReset: true });
}
