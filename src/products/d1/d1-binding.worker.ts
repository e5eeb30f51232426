import d1 from "cloudflare-internal:d1-api";
import {
  hostPaths,
  hostStatus,
  readMoved,
  timeoutText,
  type Failure,
  type Moved,
  type Query,
} from "#products/d1/host-protocol.ts";
import { limits } from "#products/d1/limits.ts";
import { onlyReads } from "#products/d1/sql-text.ts";

/**
 * workerd's own D1 binding, in the user's isolate, with a fetcher that finds its database: at the host where the version was
 * made, or at the one where that says it went. When a host ends, what only reads is asked again.
 */
type Env = { home: number } & { [service: `host${number}`]: Fetcher };
type Init = { method: string; headers: Headers; body?: string };

export default function binding(env: Env): unknown {
  return d1({ fetcher: new Database(env) });
}

class Database {
  readonly #env: Env;
  #host: number;

  constructor(env: Env) {
    this.#env = env;
    this.#host = env.home;
  }

  async fetch(url: string, init: Init): Promise<Response> {
    const beganMs = Date.now();
    let arriving: Moved | undefined;
    for (;;) {
      const response = await this.#ask(url, init, beganMs);
      const moved = readMoved(response.status, (name) => response.headers.get(name));
      if (moved) {
        if (moved.stalled && moved.atMs >= beganMs) return failure(timeoutText);
        arriving = moved;
        this.#host = moved.host;
      } else if (arriving && response.status === 404 && Date.now() < arriving.atMs + limits.moveMs) {
        await scheduler.wait(retryMs);
      } else return response;
    }
  }

  /** The answer of the host. One that ended may be back in a moment; whether it did what was asked is not known. */
  async #ask(url: string, init: Init, beganMs: number): Promise<Response> {
    const service = this.#env[`host${this.#host}`];
    if (!service) return failure(lostText);
    try {
      return await service.fetch(url, init);
    } catch {
      if (Date.now() >= beganMs + limits.callMs) return failure(timeoutText);
      const reads = url.includes(hostPaths.query) || url.includes(hostPaths.execute) ? readsOnly(init.body) : false;
      const again = await retry(() =>
        reads ? service.fetch(url, init) : service.fetch(`http://d1${hostPaths.where}`),
      );
      // Where the database is says why the host ended; whether a write was done it does not.
      if (again && (reads || again.status === hostStatus.moved)) return again;
      return failure(lostText);
    }
  }
}

/** https://developers.cloudflare.com/d1/observability/debug-d1/: whether anything was changed is not known. */
const lostText = "Network connection lost.";

const retryMs = 25;

async function retry(ask: () => Promise<Response>): Promise<Response | undefined> {
  const end = Date.now() + limits.restartMs;
  for (;;) {
    try {
      return await ask();
    } catch {
      if (Date.now() >= end) return undefined;
      await scheduler.wait(retryMs);
    }
  }
}

function readsOnly(body: string | undefined): boolean {
  const parsed = JSON.parse(body ?? "[]") as Query | Query[];
  return (Array.isArray(parsed) ? parsed : [parsed]).every(({ sql }) => onlyReads(sql));
}

function failure(error: string): Response {
  return Response.json({ success: false, error } satisfies Failure);
}
