import { decodeBatch, type BatchOutcome } from "#products/queues/event-batch.ts";
import type { RouterSettings } from "#runtime/router-settings.ts";

/**
 * What a Worker's `fetch()` and `connect()` go through, in the Worker's own process but out of its reach. Addresses of this
 * installation go to the ingress, everything else to the egress process; what that refuses becomes a rejected promise that
 * says why. Configured by `router-config.ts`.
 */
type Env = {
  OWN: RouterSettings;
  PLATFORM: Fetcher;
  EGRESS: Fetcher;
  CONTROL: Fetcher;
  USER: Consumer;
};

/** What the flag `service_binding_extra_handlers` adds to a service binding. */
type Consumer = {
  queue(name: string, messages: readonly unknown[], metadata: unknown): Promise<BatchOutcome>;
  scheduled(options: { scheduledTime?: Date; cron?: string }): Promise<{ outcome: string; noRetry: boolean }>;
};

/** The egress process puts it on every answer of an upstream server: workerd's own failures come without it. */
const mark = "x-solum-upstream";
/** How long a failed `fetch()` waits to learn why it failed. */
const explainMs = 3000;

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const url = new URL(request.url);
    const destination = destinationOf(url, env.OWN);
    if (destination === "ingress") return env.PLATFORM.fetch(onceMore(request, url));
    if (destination === "own") throw refusal(url, ownPortReason);
    if (destination === "perhaps own" && (await ask(env, url)).own) throw refusal(url, ownPortReason);
    let response: Response;
    try {
      response = await env.EGRESS.fetch(request);
    } catch (error) {
      throw await explained(env, url, error);
    }
    if (!response.headers.has(mark)) {
      await response.body?.cancel();
      throw await explained(env, url, undefined);
    }
    const clean = new Response(response.body, response);
    clean.headers.delete(mark);
    return clean;
  },

  /**
   * A TCP connection, where loopback addresses may be reached: only then does a port have to be looked at. Otherwise the
   * flag `connect_pass_through` sends it to the egress process past this code, which keeps workerd's own error reporting.
   */
  async connect(socket: Socket, env: Env): Promise<void> {
    const { localAddress } = (await socket.opened) as { localAddress?: string };
    const url = new URL(`tcp://${localAddress}`);
    const destination = destinationOf(url, env.OWN);
    const own = destination === "perhaps own" ? (await ask(env, url)).own : destination !== "elsewhere";
    if (own) throw refusal(url, ownPortReason);
    const upstream = env.EGRESS.connect(localAddress ?? "", { allowHalfOpen: true });
    await upstream.opened;
    await Promise.all([socket.readable.pipeTo(upstream.writable), upstream.readable.pipeTo(socket.writable)]);
  },
};

/** The Cache API with nothing in it: every match misses, puts are taken and forgotten, deletes find nothing. */
export const cache = {
  async fetch(request: Request): Promise<Response> {
    if (request.method === "PUT") {
      await request.body?.pipeTo(new WritableStream());
      return new Response(null, { status: 204 });
    }
    if (request.method === "PURGE") return new Response(null, { status: 404 });
    return new Response(null, { status: 504, headers: { "CF-Cache-Status": "MISS" } });
  },
};

/**
 * What sets the Worker off besides requests: a batch of a queue or a cron trigger, by workerd's own means, so that it sees the real
 * `MessageBatch` and `ScheduledController`. Answers how it ended; a handler that throws is an outcome like others. Only the platform
 * reaches the socket in front of this.
 */
export const events = {
  async fetch(request: Request, env: Env): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/scheduled") return Response.json(await scheduled(env, searchParams));
    if (pathname === handlerPath) return byHand(env, searchParams);
    const { queue, messages, metadata } = decodeBatch(new Uint8Array(await request.arrayBuffer()));
    return Response.json(await env.USER.queue(queue, messages, metadata));
  },
};

/** Where a developer fires a cron trigger by hand, as in miniflare (https://developers.cloudflare.com/workers/configuration/cron-triggers/). */
const handlerPath = "/cdn-cgi/handler/scheduled";

async function byHand(env: Env, asked: URLSearchParams): Promise<Response> {
  const result = await scheduled(env, asked);
  const status = result.outcome === "ok" ? 200 : 500;
  return asked.get("format") === "json" ? Response.json(result, { status }) : new Response(result.outcome, { status });
}

/** `time`: milliseconds since 1970. */
async function scheduled({ USER }: Env, asked: URLSearchParams) {
  const time = Number(asked.get("time") || Date.now());
  return USER.scheduled({ scheduledTime: new Date(time), cron: asked.get("cron") ?? "" });
}

/**
 * Counts how often a request came by here (RFC 8586). A Worker that hands its own request on, or has none to answer with
 * (`passThroughOnException`, no `fetch` handler), would otherwise call itself for ever.
 */
function onceMore(request: Request, url: URL): Request {
  const loops = Number(/\bsolum; loops=(\d+)/.exec(request.headers.get("cdn-loop") ?? "")?.[1] ?? 0) + 1;
  if (loops > loopsMax) throw refusal(url, `the request went in a circle through Workers ${loopsMax} times`);
  const headers = new Headers(request.headers);
  headers.set("cdn-loop", `solum; loops=${loops}`);
  return new Request(request, { headers });
}

const loopsMax = 8;

const ownPortReason = "this is Solum's own port, where only its public host names are answered";

function destinationOf(url: URL, own: Env["OWN"]): "ingress" | "own" | "perhaps own" | "elsewhere" {
  const host = url.hostname.toLowerCase().replace(/\.$/, "");
  const port = url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port);
  const named = own.hosts.includes(host) || host.endsWith(`.${own.domain}`);
  if (named && own.ports.includes(port) && url.protocol !== "tcp:") return "ingress";
  if (!own.reachesLoopback || port !== own.listenPort) return "elsewhere";
  if (isLoopback(host) || own.addresses.includes(host.replaceAll(/[[\]]/g, ""))) return "own";
  return /^[0-9.]+$|^\[/.test(host) ? "elsewhere" : "perhaps own";
}

function isLoopback(host: string): boolean {
  return /^127\.|^0\.0\.0\.0$|^\[::1?\]$|^\[::ffff:7f|(^|\.)localhost$/.test(host);
}

type Explanation = { own: boolean; reason: string };

/** Asks the control process, which may resolve names and knows the rules; an empty reason when it does not answer. */
async function ask(env: Env, url: URL): Promise<Explanation> {
  try {
    const response = await env.CONTROL.fetch("http://control/egress/explain", {
      method: "POST",
      body: JSON.stringify({ host: url.hostname, port: portOf(url), tls: url.protocol === "https:" }),
      signal: AbortSignal.timeout(explainMs),
    });
    if (response.ok) return await response.json();
  } catch {
    // The reason stays unknown; that the request failed is told all the same.
  }
  return { own: false, reason: "" };
}

async function explained(env: Env, url: URL, cause: unknown): Promise<TypeError> {
  const { reason } = await ask(env, url);
  return refusal(url, reason || (cause instanceof Error ? cause.message : "the connection failed"));
}

function refusal(url: URL, reason: string): TypeError {
  return new TypeError(`fetch to ${url.hostname}:${portOf(url)} failed: ${reason}`);
}

function portOf(url: URL): number {
  return url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port);
}
