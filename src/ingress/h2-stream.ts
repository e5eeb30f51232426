import { constants, type ServerHttp2Stream } from "node:http2";
import { createLogger } from "#core/log.ts";
import { fieldOf, WireError, type RequestHead } from "#http/wire/head.ts";
import type { Client, Works } from "#ingress/client.ts";
import type { Admission, Door, Sender } from "#ingress/door.ts";
import { pages, Refusal, renderPage, type Page } from "#ingress/error-pages.ts";
import { readH2Head, toH2Head } from "#ingress/h2-head.ts";
import { Exchange } from "#ingress/proxy.ts";

const log = createLogger("ingress.h2");

const { NGHTTP2_NO_ERROR } = constants;

/** One stream of HTTP/2: a request and its answer. */
export class H2Stream implements Client {
  readonly bare = true;
  readonly #stream: ServerHttp2Stream;
  readonly #context: { door: Door; sender: Sender; newRay: () => string };
  readonly #works: Works;
  #head: RequestHead | undefined;
  #admission: Admission | undefined;
  #exchange: Exchange | undefined;
  /** Since when the client takes nothing of what waits for it. */
  #blockedSince: number | undefined;

  constructor(stream: ServerHttp2Stream, context: { door: Door; sender: Sender; newRay: () => string }, works: Works) {
    this.#stream = stream;
    this.#context = context;
    this.#works = works;
    stream.on("data", (bytes: Buffer) => this.#receive(bytes));
    stream.on("end", () => this.#ended());
    stream.on("drain", () => {
      this.#blockedSince = undefined;
      this.#exchange?.clientDrained();
    });
    stream.on("error", () => {});
    stream.on("close", () => this.#closed());
  }

  /** Reads the head and sends the request on its way. */
  begin(raw: readonly string[]): void {
    try {
      const { limits } = this.#works;
      if (sizeOf(raw) > limits.headBytes) throw new WireError(431, "head too large");
      const head = readH2Head(raw, { fieldsMax: limits.headerFields, ended: this.#stream.endAfterHeaders });
      this.#head = head;
      this.#admission = this.#context.door.admit(head, this.#context.sender);
      const exchange = new Exchange(this, this.#works, head, this.#admission);
      this.#exchange = exchange;
      exchange.start();
    } catch (error) {
      this.#refuseFor(error);
    }
  }

  sweep(now: number): void {
    const { limits } = this.#works;
    this.#exchange?.sweep(now);
    if (this.#blockedSince !== undefined && now - this.#blockedSince > limits.stalledReaderMs)
      this.#reset("its client takes nothing of its answer");
  }

  sendHead(text: string, body: Buffer | undefined): boolean {
    if (this.#gone) return true;
    const head = toH2Head(text);
    if (Number(head[":status"]) < 200) this.#stream.additionalHeaders(head);
    else this.#stream.respond(head);
    return body === undefined ? true : this.send(body);
  }

  send(bytes: Buffer): boolean {
    if (this.#gone) return true;
    const room = this.#stream.write(bytes);
    if (!room) this.#blockedSince ??= this.#works.clock.now;
    return room;
  }

  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  finished(): void {
    this.#release();
    if (this.#gone) return;
    // What is left must go out in the time that a reader has.
    this.#blockedSince ??= this.#works.clock.now;
    const stream = this.#stream;
    // A callback costs an error object where the stream is gone before it is called, which it is when both sides have ended.
    if (stream.endAfterHeaders || stream.readableEnded) stream.end();
    // RFC 9113 §8.1: the rest of a body that nobody reads any more is called off, without an error.
    else stream.end(() => this.#gone || stream.close(NGHTTP2_NO_ERROR));
    stream.resume();
  }

  refused(page: Page): void {
    const head = this.#head;
    const text = renderPage(page, {
      html: head !== undefined && (fieldOf(head.fields, "accept")?.includes("text/html") ?? false),
      head: head?.method === "HEAD",
      close: false,
      keepAlive: false,
      ray: this.#admission?.ray ?? this.#context.newRay(),
      date: this.#works.date(),
    });
    const bodyAt = text.indexOf("\r\n\r\n") + 4;
    this.sendHead(text, Buffer.from(text.slice(bodyAt), "utf8"));
    this.finished();
  }

  cut(): void {
    this.#release();
    this.#reset("its answer broke off");
  }

  becomePipe(): void {
    throw new Error("nobody can ask for another protocol on a stream");
  }

  endPipe(): void {
    throw new Error("a stream is no pipe");
  }

  #receive(bytes: Buffer): void {
    const exchange = this.#exchange;
    if (!exchange) return;
    const pieces = this.#head?.framing.kind === "chunked" ? chunkOf(bytes) : [bytes];
    // A piece that is too much ends the exchange.
    for (const piece of pieces) if (this.#exchange === exchange) exchange.receive(piece);
  }

  #ended(): void {
    const exchange = this.#exchange;
    if (exchange && this.#head?.framing.kind === "chunked") exchange.receive(lastChunk);
  }

  #closed(): void {
    this.#exchange?.clientGone();
    this.#release();
  }

  #refuseFor(error: unknown): void {
    if (error instanceof Refusal) this.refused(error.page);
    else if (error instanceof WireError) this.refused(pages.broken(error.status, error.message));
    else {
      log.error("a request could not be taken", { error });
      this.#reset("its request could not be taken");
    }
  }

  /** RST_STREAM with INTERNAL_ERROR. `close()` would say END_STREAM before, and what is cut would look complete. */
  #reset(why: string): void {
    this.#stream.destroy(new Error(why));
  }

  #release(): void {
    if (this.#admission) this.#context.door.left();
    this.#admission = undefined;
    this.#exchange = undefined;
  }

  get #gone(): boolean {
    return this.#stream.destroyed || this.#stream.closed;
  }
}

/** A piece this small is copied rather than written in three parts. */
const joinedBytes = 4096;
const lineEnd = Buffer.from("\r\n");
const lastChunk = Buffer.from("0\r\n\r\n");

/** A piece of a body whose length nobody has told, as HTTP/1.1 writes it. */
function chunkOf(bytes: Buffer): Buffer[] {
  if (bytes.length === 0) return [];
  const all = [Buffer.from(`${bytes.length.toString(16)}\r\n`, "latin1"), bytes, lineEnd];
  return bytes.length <= joinedBytes ? [Buffer.concat(all)] : all;
}

/** RFC 9113 §6.5.2 counts 32 bytes for each field besides its name and value. */
function sizeOf(raw: readonly string[]): number {
  return raw.reduce((sum, text) => sum + text.length + 16, 0);
}
