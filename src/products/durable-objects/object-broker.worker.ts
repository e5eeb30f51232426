import { WorkerEntrypoint } from "cloudflare:workers";
import {
  drainPath,
  movedMessage,
  updatedText,
  watchMethod,
  type BrokerProps,
} from "#products/durable-objects/broker-protocol.ts";
import { isWorkflowKey } from "#products/workflows/key.ts";
import {
  movedStatus,
  workflowFailedStatus,
  workflowPath,
  type WorkflowFailure,
  type WorkflowRequest,
} from "#products/workflows/workflow-protocol.ts";
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
      // What stands for a Workflow stands for all of it.
      if (isWorkflowKey(namespace)) return binding;
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

type WorkflowAdminStub = { ask(request: WorkflowRequest): Promise<unknown>; busy(): Promise<number> };

async function askWorkflow(env: Env, key: string, request: Request): Promise<Response> {
  const admin = env[`admin:${key}`] as WorkflowAdminStub | undefined;
  if (!admin) return new Response(movedMessage, { status: movedStatus });
  const wanted: WorkflowRequest = await request.json();
  try {
    return Response.json((await counted(async () => admin.ask(wanted))) ?? null);
  } catch (error) {
    const { name, message } = error instanceof Error ? error : new Error(String(error));
    if (message === movedMessage) return new Response(movedMessage, { status: movedStatus });
    return Response.json({ name, message } satisfies WorkflowFailure, { status: workflowFailedStatus });
  }
}

/** What Workflows do that no request waits for. */
async function busyWorkflows(env: Env): Promise<number> {
  const name = Object.keys(env).find((one) => one.startsWith("admin:"));
  return name === undefined ? 0 : (env[name] as WorkflowAdminStub).busy();
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

/** What the supervisor asks: how much is under way, and to begin nothing more. What the API asks: anything about a Workflow. */
export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname.startsWith(workflowPath)) return askWorkflow(env, pathname.slice(workflowPath.length), request);
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
    return Response.json({ ...calls, watched, busy: await busyWorkflows(env) });
  },
};
