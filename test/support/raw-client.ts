import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { pollUntil } from "#core/deadline.ts";

const waitMs = 10_000;

/** How a connection ended, seen from the client: in order, or by a reset. */
export type ClientEnding = "ended" | "reset";

/** A client that sends exactly the bytes it is told to and keeps all that comes back, as Latin-1 text. */
export class RawClient {
  readonly socket: Socket;
  received = "";
  ending: ClientEnding | undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (bytes: Buffer) => (this.received += bytes.toString("latin1")));
    socket.on("end", () => (this.ending ??= "ended"));
    socket.on("error", () => (this.ending ??= "reset"));
    socket.on("close", () => (this.ending ??= "ended"));
  }

  static async to(address: number | string): Promise<RawClient> {
    const socket =
      typeof address === "number"
        ? connect({ port: address, host: "127.0.0.1", noDelay: true, allowHalfOpen: true })
        : connect({ path: address, allowHalfOpen: true });
    const client = new RawClient(socket);
    await once(socket, "connect");
    return client;
  }

  write(text: string): this {
    this.socket.write(text, "latin1");
    return this;
  }

  /** Waits until what came satisfies `ready`. */
  async until(ready: (received: string) => boolean, what = "the expected answer"): Promise<string> {
    try {
      await pollUntil({ ms: waitMs, everyMs: 2, what }, () => ready(this.received) || undefined);
    } catch (cause) {
      throw new Error(`${what} did not come, but ${JSON.stringify(this.received.slice(-1000))}`, { cause });
    }
    return this.received;
  }

  /** Waits until the other side has closed, and says how. */
  async closed(): Promise<ClientEnding> {
    try {
      await pollUntil({ ms: waitMs, everyMs: 2, what: "the connection to close" }, () => this.ending);
    } catch (cause) {
      throw new Error(`the connection stays open after ${JSON.stringify(this.received.slice(-1000))}`, { cause });
    }
    this.socket.destroy();
    return this.ending ?? "ended";
  }

  /** Leaves as a program that is killed: everything is closed at once. */
  abort(): void {
    this.socket.resetAndDestroy();
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

/** Sends `request` on a connection of its own and returns all that comes until the other side closes. */
export async function sendRaw(address: number | string, request: string): Promise<string> {
  using client = await RawClient.to(address);
  client.write(request);
  await client.closed();
  return client.received;
}

export type RawResponse = { status: number; head: string; headers: Map<string, string>; body: string };

/** Splits responses whose bodies have a length or are chunked; the last one may end with the connection. */
export function readResponses(received: string): RawResponse[] {
  const responses: RawResponse[] = [];
  let rest = received;
  while (rest !== "") {
    const end = rest.indexOf("\r\n\r\n");
    if (end < 0) throw new Error(`not a response: ${JSON.stringify(rest.slice(0, 200))}`);
    const head = rest.slice(0, end);
    const headers = new Map(
      head
        .split("\r\n")
        .slice(1)
        .map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]),
    );
    const status = Number(head.slice(9, 12));
    const { body, length } = readBody(rest.slice(end + 4), status, headers);
    responses.push({ status, head, headers, body });
    rest = rest.slice(end + 4 + length);
  }
  return responses;
}

function readBody(bytes: string, status: number, headers: Map<string, string>): { body: string; length: number } {
  if (status < 200 || status === 204 || status === 304) return { body: "", length: 0 };
  const length = headers.get("content-length");
  if (length !== undefined) return { body: bytes.slice(0, Number(length)), length: Number(length) };
  if (headers.get("transfer-encoding") !== "chunked") return { body: bytes, length: bytes.length };
  let body = "";
  let at = 0;
  for (;;) {
    const lineEnd = bytes.indexOf("\r\n", at);
    const size = Number.parseInt(bytes.slice(at, lineEnd), 16);
    if (lineEnd < 0 || Number.isNaN(size)) throw new Error("broken chunks");
    body += bytes.slice(lineEnd + 2, lineEnd + 2 + size);
    at = lineEnd + 2 + size + 2;
    if (size > 0) continue;
    // After the last chunk come trailers, if any, and an empty line.
    const empty = bytes.indexOf("\r\n\r\n", lineEnd);
    return { body, length: empty + 4 };
  }
}

/** The one response in `received`. */
export function readResponse(received: string): RawResponse {
  const [first, ...more] = readResponses(received);
  if (!first || more.length > 0)
    throw new Error(`${more.length + (first ? 1 : 0)} responses in ${JSON.stringify(received)}`);
  return first;
}
