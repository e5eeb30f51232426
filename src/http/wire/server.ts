import { createServer, type Server, type Socket } from "node:net";
import { chmod, rm } from "node:fs/promises";
import { once } from "node:events";
import { createLogger } from "#core/log.ts";
import { bodyReader, type BodyReader } from "#http/wire/body.ts";
import { fieldOf, headEnd, parseRequestHead, WireError, type RequestHead } from "#http/wire/head.ts";

/**
 * A small HTTP/1.1 server on a unix socket, for peers of our own kind: workerd's bindings and other roles. One request
 * at a time on a connection; bodies are pulled by the handler, so a slow disk holds the sender back.
 */
export interface WireServer extends AsyncDisposable {
  /** Listens on `path`, replacing a socket file that a dead process left there. Mode 0600. */
  listen(path: string): Promise<void>;
  close(): Promise<void>;
}

export interface WireRequest {
  readonly method: string;
  /** Path and query as sent. */
  readonly target: string;
  /** Names in lower case and values in turn; values are Latin-1 readings of the bytes. */
  readonly fields: readonly string[];
  /** A header's bytes read as Latin-1; `name` in lower case. */
  header(name: string): string | undefined;
  /** A header read as UTF-8, which is how workerd writes KV metadata and R2 requests. */
  headerUtf8(name: string): string | undefined;
  /** Content-Length; 0 without a body, undefined for a chunked one. */
  readonly contentLength: number | undefined;
  /** The whole body. Rejects with a WireError 413 past `max` bytes. */
  bytes(max: number): Promise<Buffer>;
  /** The body as it arrives. Leaving the loop early closes the connection after the answer. */
  stream(): AsyncIterable<Buffer>;
  /** Aborted when the peer goes away before the answer is sent. */
  readonly signal: AbortSignal;
}

export type WireResponse = {
  status: number;
  /** Text of the status line; KV errors are seen only there. Control characters are removed. */
  reason?: string;
  headers?: Record<string, string>;
  /** Bytes, or pieces of `length` bytes in all (chunked when no length is given). */
  body?: Uint8Array | string | AsyncIterable<Uint8Array>;
  length?: number;
};

export type WireHandler = (request: WireRequest) => Promise<WireResponse> | WireResponse;

const limits = {
  /** Bytes of a request head: R2 sends a whole JSON request in one header. */
  headBytes: 128 * 1024,
  headerFields: 128,
  /** Body bytes kept for a handler that does not read them yet. */
  unreadBytes: 256 * 1024,
  /** Connections to one socket. workerd opens one per request under way. */
  connections: 4096,
};

const log = createLogger("http.wire");

export function createWireServer(handler: WireHandler): WireServer {
  const connections = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    connections.add(socket);
    socket.on("close", () => connections.delete(socket));
    new Connection(socket, handler).start();
  });
  server.maxConnections = limits.connections;
  const close = async () => {
    for (const socket of connections) socket.destroy();
    if (!server.listening) return;
    server.close();
    await once(server, "close");
  };
  return {
    async listen(path) {
      await rm(path, { force: true });
      await listening(server, path);
      await chmod(path, 0o600);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function listening(server: Server, path: string): Promise<void> {
  // Node's 511 are too few for a Worker that makes a thousand calls at once: a unix socket refuses what its queue cannot hold.
  server.listen({ path, backlog: limits.connections });
  await once(server, "listening");
}

const empty = Buffer.alloc(0);

class Connection {
  readonly #socket: Socket;
  readonly #handler: WireHandler;
  /** Bytes received and not yet used. */
  #pending: Buffer = empty;
  #body: IncomingBody | undefined;
  #busy = false;

  constructor(socket: Socket, handler: WireHandler) {
    this.#socket = socket;
    this.#handler = handler;
  }

  start(): void {
    this.#socket.on("data", (bytes: Buffer) => this.#receive(bytes));
    this.#socket.on("error", () => this.#socket.destroy());
    this.#socket.on("close", () => this.#body?.abort());
  }

  #receive(bytes: Buffer): void {
    try {
      const rest = this.#body && !this.#body.complete ? bytes.subarray(this.#body.receive(bytes)) : bytes;
      if (rest.length > 0) this.#pending = this.#pending.length === 0 ? rest : Buffer.concat([this.#pending, rest]);
      // A peer may send its next request as soon as it has the answer, which is before we are done with this one.
      if (this.#busy && this.#pending.length > limits.headBytes) this.#socket.pause();
      this.#next();
    } catch (error) {
      this.#refuse(error);
    }
  }

  /** Begins the next request when the last one is answered and a whole head is here. */
  #next(): void {
    if (this.#busy || this.#pending.length === 0) return;
    const end = headEnd(this.#pending);
    if (end < 0 || end > limits.headBytes) {
      if (this.#pending.length > limits.headBytes) throw new WireError(431, "request head too large");
      return;
    }
    const head = parseRequestHead(this.#pending.toString("latin1", 0, end), limits.headerFields);
    const rest = this.#pending.subarray(end);
    const body = new IncomingBody(this.#socket, head);
    this.#pending = empty;
    this.#body = body;
    this.#busy = true;
    const used = rest.length > 0 ? body.receive(rest) : 0;
    if (used < rest.length) this.#pending = rest.subarray(used);
    if (head.expectContinue) this.#socket.write("HTTP/1.1 100 Continue\r\n\r\n");
    void this.#answer(head, body);
  }

  async #answer(head: RequestHead, body: IncomingBody): Promise<void> {
    let response: WireResponse;
    try {
      response = await this.#handler(new Request(head, body));
    } catch (error) {
      response = failure(error);
    }
    if (this.#socket.destroyed) return;
    try {
      await this.#send(head, response, body.complete || body.contentLeftIsSmall);
      if (!body.complete && !(await body.discard())) {
        this.#socket.destroySoon();
        return;
      }
      this.#busy = false;
      this.#body = undefined;
      // Paused for a body that nobody read, or for what came after it.
      if (this.#socket.isPaused()) this.#socket.resume();
      if (head.keepAlive) this.#next();
      else this.#socket.end();
    } catch (error) {
      if (!this.#socket.destroyed) log.warn("an answer was cut off", { error });
      this.#socket.destroy();
    }
  }

  async #send(head: RequestHead, response: WireResponse, keep: boolean): Promise<void> {
    const { body } = response;
    const bodyless = head.method === "HEAD" || response.status === 204 || response.status === 304;
    if (body === undefined || typeof body === "string" || body instanceof Uint8Array) {
      const content = typeof body === "string" ? Buffer.from(body) : (body ?? empty);
      const text = Buffer.from(responseHead(response, content.length, head, keep));
      // One write for a small answer: a second one costs a system call of its own.
      this.#socket.write(content.length === 0 || bodyless ? text : Buffer.concat([text, content]));
      return;
    }
    const chunked = response.length === undefined && !bodyless;
    this.#socket.write(responseHead(response, chunked ? undefined : (response.length ?? 0), head, keep));
    let sent = 0;
    for await (const piece of body) {
      if (bodyless) break;
      sent += piece.length;
      if (!this.#sendPiece(piece, chunked)) await drained(this.#socket);
      if (this.#socket.destroyed) throw new Error("the peer went away");
    }
    if (chunked) this.#socket.write("0\r\n\r\n");
    else if (!bodyless && sent !== response.length) throw new Error(`${sent} bytes of a body of ${response.length}`);
  }

  /** Whether there is room for more. */
  #sendPiece(piece: Uint8Array, chunked: boolean): boolean {
    if (piece.length === 0) return true;
    if (!chunked) return this.#socket.write(piece);
    // One write for all three: each costs a system call of its own, and a stream of tokens is many small pieces.
    this.#socket.cork();
    this.#socket.write(`${piece.length.toString(16)}\r\n`, "latin1");
    this.#socket.write(piece);
    const room = this.#socket.write("\r\n", "latin1");
    this.#socket.uncork();
    return room;
  }

  #refuse(error: unknown): void {
    const status = error instanceof WireError ? error.status : 500;
    if (!(error instanceof WireError)) log.error("a connection failed", { error });
    this.#socket.end(`HTTP/1.1 ${status} Refused\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`);
  }
}

async function drained(socket: Socket): Promise<void> {
  if (socket.destroyed) return;
  await new Promise<void>((resolve) => {
    const done = () => {
      socket.off("drain", done);
      socket.off("close", done);
      resolve();
    };
    socket.on("drain", done);
    socket.on("close", done);
  });
}

// oxlint-disable-next-line no-control-regex
const notPrintable = /[\x00-\x1f\x7f]+/g;

function responseHead(response: WireResponse, length: number | undefined, request: RequestHead, keep: boolean): string {
  const reason = (response.reason ?? "OK").replace(notPrintable, " ");
  let text = `HTTP/1.1 ${response.status} ${reason}\r\n`;
  for (const [name, value] of Object.entries(response.headers ?? {})) {
    // A line break here would let a value forge headers; a store must never have kept one.
    text += `${name}: ${value.replace(notPrintable, " ")}\r\n`;
  }
  if (length === undefined) text += "transfer-encoding: chunked\r\n";
  else if (response.status !== 204 && response.status !== 304) text += `content-length: ${length}\r\n`;
  if (!keep || !request.keepAlive) text += "connection: close\r\n";
  return `${text}\r\n`;
}

function failure(error: unknown): WireResponse {
  if (error instanceof WireError) return { status: error.status, reason: error.message };
  log.error("a handler failed", { error });
  return { status: 500, reason: "Internal Server Error" };
}

class Request implements WireRequest {
  readonly method: string;
  readonly target: string;
  readonly contentLength: number | undefined;
  readonly fields: readonly string[];
  readonly #body: IncomingBody;

  constructor(head: RequestHead, body: IncomingBody) {
    this.method = head.method;
    this.target = head.target;
    this.fields = head.fields;
    this.#body = body;
    this.contentLength =
      head.framing.kind === "length" ? head.framing.length : head.framing.kind === "none" ? 0 : undefined;
  }

  get signal(): AbortSignal {
    return this.#body.signal;
  }

  header(name: string): string | undefined {
    return fieldOf(this.fields, name);
  }

  headerUtf8(name: string): string | undefined {
    const value = fieldOf(this.fields, name);
    return value === undefined ? undefined : Buffer.from(value, "latin1").toString("utf8");
  }

  async bytes(max: number): Promise<Buffer> {
    if (this.contentLength !== undefined && this.contentLength > max) throw new WireError(413, "Payload Too Large");
    const pieces: Buffer[] = [];
    let size = 0;
    for await (const piece of this.#body) {
      size += piece.length;
      if (size > max) throw new WireError(413, "Payload Too Large");
      pieces.push(piece);
    }
    return pieces.length === 1 && pieces[0] ? pieces[0] : Buffer.concat(pieces, size);
  }

  stream(): AsyncIterable<Buffer> {
    return this.#body;
  }
}

/** The body of one request: a bounded queue between the socket and whoever reads it. */
class IncomingBody implements AsyncIterable<Buffer> {
  readonly #socket: Socket;
  readonly #reader: BodyReader;
  readonly #length: number | undefined;
  #queue: Buffer[] = [];
  #queued = 0;
  #received = 0;
  #wake: (() => void) | undefined;
  #failed: Error | undefined;
  #dropping = false;
  #controller: AbortController | undefined;
  #gone = false;

  constructor(socket: Socket, head: RequestHead) {
    this.#socket = socket;
    this.#reader = bodyReader(head.framing);
    this.#length = head.framing.kind === "length" ? head.framing.length : undefined;
  }

  get complete(): boolean {
    return this.#reader.done;
  }

  /** Whether reading the rest only to throw it away costs less than a new connection. */
  get contentLeftIsSmall(): boolean {
    return this.#length !== undefined && this.#length - this.#received <= limits.unreadBytes;
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#gone) this.#controller.abort();
    return this.#controller.signal;
  }

  /** Takes what belongs to this body from `bytes`; the count of bytes taken. */
  receive(bytes: Buffer): number {
    try {
      const used = this.#reader.read(bytes, 0, (content) => {
        this.#received += content.length;
        if (this.#dropping) return;
        this.#queue.push(content);
        this.#queued += content.length;
      });
      if (this.#queued > limits.unreadBytes) this.#socket.pause();
      this.#wake?.();
      return used;
    } catch (error) {
      this.#failed = error instanceof Error ? error : new Error(String(error));
      this.#wake?.();
      throw error;
    }
  }

  abort(): void {
    this.#gone = true;
    if (!this.complete) this.#failed ??= new WireError(400, "the peer went away in the middle of a body");
    this.#controller?.abort();
    this.#wake?.();
  }

  /** Reads what is left and forgets it; false when that is not worth it. */
  async discard(): Promise<boolean> {
    if (!this.contentLeftIsSmall) return false;
    this.#dropping = true;
    this.#queue = [];
    this.#queued = 0;
    this.#socket.resume();
    while (!this.complete && !this.#failed) await this.#more();
    return this.complete;
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Buffer> {
    for (;;) {
      const piece = this.#queue.shift();
      if (piece) {
        this.#queued -= piece.length;
        if (this.#queued <= limits.unreadBytes / 2 && this.#socket.isPaused()) this.#socket.resume();
        yield piece;
      } else if (this.#failed) throw this.#failed;
      else if (this.complete) return;
      else await this.#more();
    }
  }

  async #more(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = () => {
        this.#wake = undefined;
        resolve();
      };
    });
  }
}
