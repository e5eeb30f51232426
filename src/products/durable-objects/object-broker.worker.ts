import { WorkerEntrypoint } from "cloudflare:workers";
import {
  askedPrefix,
  askFailedStatus,
  askPath,
  drainPath,
  movedMessage,
  movedStatus,
  updatedText,
  watchMethod,
  wholeKeyPrefix,
  type AskFailure,
  type Asked,
  type BrokerProps,
} from "#products/durable-objects/broker-protocol.ts";
import { localReads, reach, remotePath } from "#products/durable-objects/remote-path.ts";

/**
 * In an owner process: what fronts call objects through. It knows an object's name, which a direct call to an object does
 * not carry, and it can say that a call has not begun because the process is about to be replaced.
 */
type Env = Record<string, unknown>;

/** No call begins any more. */
let draining = false;
/** Calls that have not been answered. */
const calls = { open: 0 };
const limits = {
  /** Told that the process ends; the oldest, most of which are long gone, make room. */
  watchers: 20_000,
  /** For so long no call may have come, so that those which fronts sent before they were told have been answered. */
  quietMs: 5,
  quietMaxMs: 50,
};

/** When a call last came, ms since 1970. */
let lastCallMs = 0;
/** Told when the process is about to end. */
const watchers = new Set<(reason: string) => void>();

export class Broker extends WorkerEntrypoint<Env> {
  constructor(ctx: ExecutionContext, env: Env) {
    super(ctx, env);
    const { namespace, id, name } = (ctx as unknown as { props: BrokerProps }).props;
    const binding = env[namespace];
    const isLocal = localReads();
    const stub = () => {
      if (!binding) throw new Error(movedMessage);
      if (namespace.startsWith(wholeKeyPrefix)) return binding;
      const objects = binding as DurableObjectNamespace;
      return (name === undefined ? objects.get(objects.idFromString(id)) : objects.getByName(name)) as object;
    };
    // oxlint-disable-next-line no-constructor-return -- every property stands for one of the object's.
    return new Proxy(this, {
      get(target, property): unknown {
        if (typeof property === "symbol" || isLocal(property)) return Reflect.get(target, property, target);
        if (property === watchMethod) return watch;
        if (property === "fetch")
          return async (request: Request) => counted(async () => (stub() as Fetcher).fetch(request));
        return remotePath([property], {
          call: async (path, args) => counted(async () => reach(stub(), path, args)),
          read: async (path) => counted(async () => reach(stub(), path)),
        });
      },
    });
  }
}

async function ask(env: Env, key: string, request: Request): Promise<Response> {
  const asked = env[askedPrefix + key] as Asked | undefined;
  if (!asked) return new Response(movedMessage, { status: movedStatus });
  const wanted: unknown = await request.json();
  try {
    return Response.json((await counted(async () => asked.ask(wanted))) ?? null);
  } catch (error) {
    const { name, message } = error instanceof Error ? error : new Error(String(error));
    if (message === movedMessage) return new Response(movedMessage, { status: movedStatus });
    return Response.json({ name, message } satisfies AskFailure, { status: askFailedStatus });
  }
}

/** What goes on that no request waits for; it is the same for all that can be asked. */
async function busy(env: Env): Promise<number> {
  const name = Object.keys(env).find((one) => one.startsWith(askedPrefix));
  return name === undefined ? 0 : (env[name] as Asked).busy();
}

async function watch(): Promise<string> {
  return new Promise((resolve) => {
    const [oldest] = watchers;
    if (watchers.size >= limits.watchers && oldest) watchers.delete(oldest);
    watchers.add(resolve);
  });
}

async function counted<T>(work: () => Promise<T>): Promise<T> {
  if (draining) {
    lastCallMs = Date.now();
    throw new Error(movedMessage);
  }
  calls.open++;
  try {
    return await work();
  } finally {
    calls.open--;
  }
}

/** What the supervisor asks: how much is under way, and to begin nothing more. What the API asks goes to whoever knows. */
export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname.startsWith(askPath)) return ask(env, pathname.slice(askPath.length), request);
    const watched = watchers.size;
    if (pathname === drainPath) {
      draining = true;
      const end = Date.now() + Number(searchParams.get("ms"));
      while (calls.open > 0 && Date.now() < end) await scheduler.wait(1);
      for (const tell of watchers) tell(searchParams.get("why") ?? updatedText);
      watchers.clear();
      // What is answered leaves this process before whoever asked ends it.
      const quietEnd = Date.now() + limits.quietMaxMs;
      do await scheduler.wait(limits.quietMs);
      while (Date.now() - lastCallMs < limits.quietMs && Date.now() < quietEnd);
    }
    return Response.json({ ...calls, watched, busy: await busy(env) });
  },
};
