import { Agent, request, type IncomingMessage } from "node:http";
import { once } from "node:events";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Handler } from "hono";
import type { ApiEnv } from "#http/app.ts";
import { isListening } from "#http/listening.ts";

/** Of one connection: what is on either side of us is another. */
const ownHeaders = ["connection", "host", "keep-alive", "transfer-encoding", "authorization", "cookie"];

/**
 * Hands a request, once the guards have let it through, to the process behind the unix socket `path`, which trusts us to have
 * asked who it is. Bodies stream both ways; a client that leaves ends both. `start` resolves once the process runs; asked when
 * nobody listens there.
 */
export function forwardTo(path: string, start: () => Promise<void>): Handler<ApiEnv> {
  const agent = new Agent({ keepAlive: true, maxSockets: 256 });
  return async (c) => {
    if (!(await isListening(path))) await start();
    const { pathname, search } = new URL(c.req.url);
    const headers = Object.fromEntries(c.req.raw.headers);
    for (const name of ownHeaders) delete headers[name];
    const { signal } = c.req.raw;
    const outgoing = request({
      socketPath: path,
      agent,
      method: c.req.method,
      path: pathname + search,
      headers,
      signal,
    });
    const answered = once(outgoing, "response");
    const { body } = c.req.raw;
    if (body === null) outgoing.end();
    // A connection that breaks is told by the answer that does not come.
    else void pipeline(Readable.fromWeb(body), outgoing).catch(() => {});
    const [response] = (await answered) as [IncomingMessage];
    return new Response(Readable.toWeb(response), {
      status: response.statusCode ?? 502,
      headers: answerHeaders(response),
    });
  };
}

function answerHeaders({ headersDistinct }: IncomingMessage): Headers {
  const headers = new Headers();
  for (const [name, values] of Object.entries(headersDistinct))
    if (!ownHeaders.includes(name)) for (const value of values ?? []) headers.append(name, value);
  return headers;
}
