import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { ApiError } from "#core/errors.ts";
import { failure } from "#http/envelope.ts";
import { apiErrors } from "#http/errors.ts";
import { closeCodes, openingAnswer, refusalOf, ServerWebSocket } from "#http/wire/websocket.ts";
import { logErrors } from "#products/logs/errors.ts";
import { logLimits, type LogMessage } from "#products/logs/schema.ts";
import type { LogStore } from "#products/logs/store.ts";
import { tailMessage } from "#products/logs/tail-message.ts";
import type { Tail, Tails } from "#products/logs/tails.ts";

/** Below it is a tail's key. */
export const tailSocketPath = "/client/v4/tails/";

/** Where a tail's WebSocket is: `ws:` or `wss:`, as the console is reached. */
export function tailSocketUrl(consoleUrl: string, key: string): string {
  return `${consoleUrl.replace(/^http/, "ws")}${tailSocketPath}${key}`;
}

/** The subprotocol that wrangler asks for, and expects to be told back. */
const tailProtocol = "trace-v1";

export type TailTimes = { aliveEveryMs: number; aliveMs: number };

/** Takes over requests for a tail's WebSocket, at `tailSocketPath`. They bring no token: the address is the secret. */
export function tailUpgrades(options: { tails: Tails; logs: LogStore } & Partial<TailTimes>) {
  return (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    socket.on("error", () => socket.destroy());
    serve(options, request, socket, head).catch(() => socket.destroy());
  };
}

async function serve(
  options: { tails: Tails; logs: LogStore } & Partial<TailTimes>,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): Promise<void> {
  const { tails, logs } = options;
  const path = request.url ?? "";
  const tail = tails.find(path.slice(tailSocketPath.length));
  if (!tail) return refuse(socket, apiErrors.noRoute(path));
  const refusal = refusalOf(request, tailProtocol);
  if (refusal) return refuse(socket, logErrors.notWebSocket(refusal.status, refusal.reason));

  const stopped = new AbortController();
  socket.once("close", () => stopped.abort());
  const { workerId, scriptName, accepts } = tail;
  const messages = await logs.listen(workerId, scriptName, stopped.signal, { recent: false, accepts });
  if (!messages) return refuse(socket, logErrors.tooManyListeners(logLimits.listenersPerWorker));
  if (socket.destroyed) return stopped.abort();

  socket.write(openingAnswer(request, tailProtocol));
  const webSocket = new ServerWebSocket(socket, head, {
    messageBytesMax: logLimits.tailMessageBytes,
    outputBytesMax: logLimits.tailOutputBytes,
    aliveEveryMs: options.aliveEveryMs ?? logLimits.tailAliveEveryMs,
    aliveMs: options.aliveMs ?? logLimits.tailAliveMs,
    // wrangler's first message has no mask; `{"debug":…}` is all that it says, and it changes nothing here.
    firstFrameMayBeUnmasked: true,
    message() {},
  });
  await feed(webSocket, messages, tails, tail);
  stopped.abort();
}

async function feed(webSocket: ServerWebSocket, messages: AsyncIterable<LogMessage>, tails: Tails, tail: Tail) {
  let code: number = closeCodes.normal;
  const detach = tails.attach(tail, (why) => {
    // wrangler takes 1000 as the end, and anything else as a reason to come back.
    if (why === "restart") code = closeCodes.serviceRestart;
    webSocket.close(code, why);
  });
  try {
    for await (const message of messages) if (!(await webSocket.send(JSON.stringify(tailMessage(message))))) break;
    webSocket.close(code, "over");
  } finally {
    detach();
  }
}

function refuse(socket: Duplex, error: ApiError): void {
  const body = JSON.stringify(failure(error.entries));
  const version = error.status === 426 ? "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" : "";
  socket.end(
    `HTTP/1.1 ${error.status} Refused\r\n${version}Connection: close\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}
