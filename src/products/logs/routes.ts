import { accountOf, createRoutes, param, parseJson, type Api, type ApiContext } from "#http/app.ts";
import { logErrors } from "#products/logs/errors.ts";
import { acceptsOf, tailRequest } from "#products/logs/filters.ts";
import { logLimits, type LogMessage } from "#products/logs/schema.ts";
import type { LogStore } from "#products/logs/store.ts";

/** Finds a Worker of an account by its name; undefined when there is none. */
export type FindWorker = (accountId: string, scriptName: string) => Promise<string | undefined>;

/**
 * Mounted under `/accounts/:account_id/workers/scripts/:script_name/logs`. `GET /live`: newline-delimited JSON, one tail
 * message a line, the recent ones first, until the client leaves. An empty line now and then shows that it is alive.
 * `?filters=` takes the JSON of a tail's filters.
 */
export function logsRoutes(store: LogStore, findWorker: FindWorker): Api {
  const routes = createRoutes();
  routes.get("/live", async (c) => {
    const scriptName = param(c, "script_name");
    const workerId = await findWorker(accountOf(c), scriptName);
    if (workerId === undefined) throw logErrors.noScript();
    const filters = parseJson(tailRequest.shape.filters, c.req.query("filters") ?? "[]");
    const accepts = acceptsOf(filters, c.req.header("cf-connecting-ip"));
    const ended = new AbortController();
    const signal = AbortSignal.any([c.req.raw.signal, ended.signal]);
    const messages = await store.listen(workerId, scriptName, signal, { accepts });
    if (!messages) throw logErrors.tooManyListeners(logLimits.listenersPerWorker);
    return stream(c, messages, ended);
  });
  return routes;
}

const aliveEveryMs = 15_000;

function stream(c: ApiContext, messages: AsyncIterable<LogMessage>, ended: AbortController): Response {
  const encoder = new TextEncoder();
  const iterator = messages[Symbol.asyncIterator]();
  let timer: NodeJS.Timeout | undefined;
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      timer = setInterval(() => {
        // Only a client that reads is told that all is well; for another one the queue is full anyway.
        if ((controller.desiredSize ?? 0) > 0) controller.enqueue(encoder.encode("\n"));
      }, aliveEveryMs);
    },
    async pull(controller) {
      const { value, done } = await iterator.next();
      if (!done) return controller.enqueue(encoder.encode(`${JSON.stringify(value)}\n`));
      clearInterval(timer);
      // After `cancel` the stream is closed already.
      if (!ended.signal.aborted) controller.close();
    },
    cancel() {
      clearInterval(timer);
      ended.abort();
    },
  });
  return c.body(body, 200, { "content-type": "application/x-ndjson", "cache-control": "no-store" });
}
