import { existsSync } from "node:fs";
import { request, type IncomingMessage } from "node:http";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { sleep } from "#core/deadline.ts";

/** The answer of one HTTP request on a unix socket, on a connection of its own. */
export type SocketAnswer = { status: number; body: string };

/** Asks over a unix socket; rejects when nobody answers within `ms`. */
export async function askSocket(
  socketPath: string,
  options: { method?: string; path?: string; body?: string; ms: number; signal?: AbortSignal },
): Promise<SocketAnswer> {
  const signals = [AbortSignal.timeout(options.ms), ...(options.signal ? [options.signal] : [])];
  const outgoing = request({
    socketPath,
    method: options.method ?? "GET",
    path: options.path ?? "/ready",
    headers: { host: "solum.internal", connection: "close", "content-length": Buffer.byteLength(options.body ?? "") },
    signal: AbortSignal.any(signals),
    agent: false,
  });
  outgoing.end(options.body);
  const [response] = (await once(outgoing, "response")) as [IncomingMessage];
  return { status: response.statusCode ?? 0, body: await text(response) };
}

/** Asks `socketPath` again and again until it answers at all; rejects when `signal` aborts. */
export async function untilAnswers(socketPath: string, signal: AbortSignal, everyMs = 5): Promise<SocketAnswer> {
  for (;;) {
    signal.throwIfAborted();
    try {
      // A look costs a hundredth of a request, and most of a start passes before the socket is there.
      if (existsSync(socketPath)) return await askSocket(socketPath, { ms: 2000, signal });
    } catch {
      // Nobody listens on it yet.
    }
    await sleep(everyMs, signal);
  }
}
