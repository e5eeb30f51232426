import { accountOf, createRoutes, ok, param, parseJson, readBody, type Api, type ApiContext } from "#http/app.ts";
import { apiErrors } from "#http/errors.ts";
import { logErrors } from "#products/logs/errors.ts";
import { acceptsOf, tailRequest } from "#products/logs/filters.ts";
import type { FindWorker } from "#products/logs/routes.ts";
import type { Tail, Tails } from "#products/logs/tails.ts";

/** Bytes of the body that makes a tail. */
const bodyBytesMax = 128 * 1024;

/** Mounted under `/accounts/:account_id/workers/scripts/:script_name/tails`; `socketUrl` is where a tail's WebSocket is. */
export function tailRoutes(tails: Tails, findWorker: FindWorker, socketUrl: (key: string) => string): Api {
  const routes = createRoutes();
  const workerOf = async (c: ApiContext) => {
    const scriptName = param(c, "script_name");
    const id = await findWorker(accountOf(c), scriptName);
    if (id === undefined) throw logErrors.noScript();
    return { id, scriptName };
  };
  const shown = ({ id, key, expiresAt }: Tail) => ({
    id,
    url: socketUrl(key),
    // Without milliseconds, as wrangler shows it: `expires at 2025-04-09T19:01:50Z` (cloudflare/workers-sdk#8863).
    expires_at: new Date(expiresAt).toISOString().replace(/\.\d+/, ""),
  });

  routes.post("/", async (c) => {
    const worker = await workerOf(c);
    const body = Buffer.from(await readBody(c.req.raw, bodyBytesMax)).toString();
    // The SDK sends no body when there are no filters.
    const { filters } = parseJson(tailRequest, body === "" ? "{}" : body);
    return ok(c, shown(tails.create(worker, acceptsOf(filters, c.req.header("cf-connecting-ip")))));
  });
  // One object and not a list: `TailGetResponse` of the official SDK.
  routes.get("/", async (c) => {
    const tail = tails.latest((await workerOf(c)).id);
    return ok(c, tail ? shown(tail) : null);
  });
  routes.delete("/:tail_id", async (c) => {
    const { id } = await workerOf(c);
    if (!tails.remove(id, param(c, "tail_id"))) throw apiErrors.noRoute(new URL(c.req.url).pathname);
    return ok(c, null);
  });
  return routes;
}
