import type { Socket } from "node:net";
import { createLogger } from "#core/log.ts";
import { fieldOf, parseRequestHead, WireError, type RequestHead } from "#http/wire/head.ts";
import type { Client, Works } from "#ingress/client.ts";
import type { Admission, Channel, Door, Sender } from "#ingress/door.ts";
import { pages, Refusal, renderPage, type Page } from "#ingress/error-pages.ts";
import { HeadReader } from "#ingress/head-reader.ts";
import { Exchange } from "#ingress/proxy.ts";

const log = createLogger("ingress.connection");

/** A head and a body this small go out as one string: one system call, and no list of buffers to make for it. */
const joinedBytes = 4096;

type Phase =
  /** Between requests. */
  | "idle"
  /** A part of a head is here. */
  | "head"
  | "exchange"
  | "pipe"
  /** We have said all; what the client still sends is thrown away. */
  | "closing";

/** What serves one connection, until that closes. */
export interface Served {
  /** Looks at the time limits. */
  sweep(now: number): void;
  /** Closes when there is no request; otherwise the connection ends with what is under way. */
  stop(): void;
  destroy(): void;
}

/** One client: reads its requests one after the other and has each of them answered. */
export class Connection implements Client, Served {
  readonly bare = false;
  readonly #socket: Socket;
  readonly #door: Door;
  readonly #works: Works;
  readonly #sender: Sender;
  readonly #reset: (() => void) | undefined;
  readonly #newRay: () => string;
  readonly #heads: HeadReader;
  #phase: Phase = "head";
  /** When the phase began, for its time limit. */
  #since: number;
  #head: RequestHead | undefined;
  #admission: Admission | undefined;
  #exchange: Exchange | undefined;
  /** What came after the current request, and its weight. */
  #queue: Buffer[] = [];
  #queued = 0;
  #advancing = false;
  #heldBack = false;
  #heldBackSince = 0;

  constructor(socket: Socket, channel: Channel, door: Door, works: Works, newRay: () => string) {
    this.#socket = socket;
    this.#door = door;
    this.#works = works;
    this.#newRay = newRay;
    this.#sender = door.describe(channel);
    this.#reset = channel.reset;
    this.#heads = new HeadReader(works.limits.headBytes);
    this.#since = works.clock.now;
    socket.on("data", (bytes: Buffer) => this.#receive(bytes));
    socket.on("drain", () => this.#drained());
    socket.on("end", () => this.#ended());
    socket.on("timeout", () => socket.destroy());
    // What follows an error is `close`, which is where we let go.
    socket.on("error", () => {});
    socket.on("close", () => this.#closed());
  }

  stop(): void {
    if (!this.#exchange && !this.#heads.begun && this.#queued === 0 && !this.#isClosing) this.#close();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  sweep(now: number): void {
    const { limits } = this.#works;
    const elapsedMs = now - this.#since;
    switch (this.#phase) {
      case "idle":
        if (elapsedMs > limits.keepAliveMs) this.#close();
        return;
      case "head":
        if (elapsedMs <= limits.headMs) return;
        // A connection that never said anything gets no answer either.
        if (this.#heads.begun) this.refused(pages.broken(408, "the request's head took too long"), false);
        else this.#socket.destroy();
        return;
      case "exchange":
        // While nothing of it is read, a client that left looks like one that waits.
        if (this.#heldBack && now - this.#heldBackSince > limits.heldBackMs) this.#socket.destroy();
        else this.#exchange?.sweep(now);
        return;
      case "closing":
        // The wait begins when our last byte is out; until then the client's reading is what is watched.
        if (this.#socket.writableLength > 0) this.#since = now;
        else if (elapsedMs > limits.lingerMs) this.#socket.destroy();
        return;
      case "pipe":
    }
  }

  sendHead(head: string, body: Buffer | undefined): boolean {
    const socket = this.#socket;
    let room: boolean;
    if (body === undefined) room = socket.write(head, "latin1");
    else if (body.length <= joinedBytes) room = socket.write(head + body.toString("latin1"), "latin1");
    else {
      socket.cork();
      socket.write(head, "latin1");
      room = socket.write(body);
      socket.uncork();
    }
    if (!room) this.#watchReader();
    return room;
  }

  send(bytes: Buffer): boolean {
    const room = this.#socket.write(bytes);
    if (!room) this.#watchReader();
    return room;
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    if (!this.#heldBack) this.#socket.resume();
  }

  finished(keep: boolean): void {
    this.#release();
    if (!keep || this.#works.stopping) {
      this.#close();
      return;
    }
    this.#enter("idle");
    if (!this.#heldBack && this.#socket.isPaused()) this.#socket.resume();
    this.#advance();
  }

  refused(page: Page, keep: boolean): void {
    const head = this.#head;
    const keepsOn = keep && head !== undefined && head.keepAlive && !this.#works.stopping;
    const text = renderPage(page, {
      html: head !== undefined && (fieldOf(head.fields, "accept")?.includes("text/html") ?? false),
      head: head?.method === "HEAD",
      close: !keepsOn,
      keepAlive: head?.minor === 0,
      ray: this.#admission?.ray ?? this.#newRay(),
      date: this.#works.date(),
    });
    this.#socket.write(text, "utf8");
    this.finished(keepsOn);
  }

  cut(unframed: boolean): void {
    this.#release();
    // Without framing only a reset tells the client that something is missing. Unix sockets have none; there the framing is ours.
    if (unframed && this.#reset) this.#reset();
    else {
      this.#enter("closing");
      this.#watchReader();
      this.#socket.destroySoon();
    }
  }

  becomePipe(): void {
    this.#enter("pipe");
    this.#advance();
  }

  endPipe(): void {
    this.#release();
    this.#close();
  }

  /** Bytes go where they belong at once, or wait in the queue behind others. */
  #receive(bytes: Buffer): void {
    if (this.#isClosing) return;
    if (this.#queued > 0) this.#enqueue(bytes);
    else if (this.#exchange) {
      this.#feed(this.#exchange, bytes);
      if (!this.#exchange) this.#advance();
    } else if (this.#socket.writableNeedDrain) this.#enqueue(bytes);
    else {
      this.#read(bytes);
      this.#advance();
    }
  }

  /** Works off the queue as far as that can be done now. */
  #advance(): void {
    if (this.#advancing) return;
    this.#advancing = true;
    while (this.#queued > 0 && !this.#isClosing) {
      const exchange = this.#exchange;
      // A client that does not take its answers gets no further ones: they would pile up here.
      if (exchange ? !exchange.wantsMore : this.#socket.writableNeedDrain) break;
      const bytes = this.#queue.shift();
      if (!bytes) break;
      this.#queued -= this.#weightOf(bytes);
      if (exchange) this.#feed(exchange, bytes);
      else this.#read(bytes);
    }
    this.#advancing = false;
    if (this.#queued <= this.#works.limits.pipelinedBytes) this.#letThrough();
  }

  /** Gives an exchange what is its own; the rest is the beginning of the next request. */
  #feed(exchange: Exchange, bytes: Buffer): void {
    const used = exchange.receive(bytes);
    if (used < bytes.length) this.#putBack(used === 0 ? bytes : bytes.subarray(used));
  }

  /** Reads a head, and begins its exchange when it is whole. */
  #read(bytes: Buffer): void {
    if (this.#phase === "idle") this.#enter("head");
    let rest: Buffer | undefined;
    try {
      if (!this.#heads.begun) refuseGarbage(bytes);
      const end = this.#heads.take(bytes);
      if (end < 0) return;
      if (end < bytes.length) rest = bytes.subarray(end);
      const head = this.#parse(this.#heads.release());
      if (head.method === "CONNECT" && this.#door.tunnel) {
        const tunnel = this.#door.tunnel(head);
        this.#enter("pipe");
        for (const event of ["data", "drain", "end", "timeout"]) this.#socket.removeAllListeners(event);
        tunnel(this.#socket, rest, this.#works);
        return;
      }
      const exchange = this.#begin(head);
      // The body's beginning goes out together with the head.
      if (rest) this.#feed(exchange, rest);
      exchange.start();
    } catch (error) {
      this.#refuseFor(error);
      if (rest) this.#putBack(rest);
    }
  }

  #parse(text: string): RequestHead {
    // RFC 9112 §2.2: an empty line before a request is passed over.
    const whole = text.startsWith("\r\n") ? text.slice(2) : text;
    const head = parseRequestHead(whole, this.#works.limits.headerFields);
    this.#head = head;
    return head;
  }

  /** Makes an exchange of a head, or throws. */
  #begin(head: RequestHead): Exchange {
    if (!head.expectContinue && fieldOf(head.fields, "expect") !== undefined)
      throw new WireError(417, "only 100-continue can be expected");
    const admission = this.#door.admit(head, this.#sender);
    this.#admission = admission;
    const exchange = new Exchange(this, this.#works, head, admission);
    this.#exchange = exchange;
    this.#enter("exchange");
    return exchange;
  }

  #refuseFor(error: unknown): void {
    if (error instanceof Refusal) {
      // A body that follows would have to be read only to be thrown away.
      this.refused(error.page, this.#head?.framing.kind === "none");
    } else if (error instanceof WireError) {
      const tooLongUrl = error.status === 431 && this.#heads.begun && !this.#heads.sofar.includes("\r\n");
      this.refused(pages.broken(tooLongUrl ? 414 : error.status, error.message), false);
    } else {
      log.error("a request could not be taken", { error });
      this.#socket.destroy();
    }
  }

  /** Puts what was taken from the queue's front, or came when it was empty, back there. */
  #putBack(bytes: Buffer): void {
    if (this.#isClosing) return;
    this.#queue.unshift(bytes);
    this.#queued += this.#weightOf(bytes);
    this.#holdBack();
  }

  #enqueue(bytes: Buffer): void {
    this.#queue.push(bytes);
    this.#queued += this.#weightOf(bytes);
    this.#holdBack();
  }

  /** A client that sends its bytes one by one must not make us keep far more than it sends. */
  #weightOf(bytes: Buffer): number {
    return bytes.length + this.#works.limits.pieceBytes;
  }

  #holdBack(): void {
    if (this.#queued <= this.#works.limits.pipelinedBytes) return;
    if (!this.#heldBack) this.#heldBackSince = this.#works.clock.now;
    this.#heldBack = true;
    this.#socket.pause();
  }

  #letThrough(): void {
    if (!this.#heldBack) return;
    this.#heldBack = false;
    this.#socket.resume();
  }

  #drained(): void {
    this.#socket.setTimeout(0);
    this.#exchange?.clientDrained();
    this.#advance();
  }

  /** From here until the client has taken what waits for it, it must show progress. A WebSocket's may pause for as long as it likes. */
  #watchReader(): void {
    if (this.#phase !== "pipe") this.#socket.setTimeout(this.#works.limits.stalledReaderMs);
  }

  #ended(): void {
    if (!this.#exchange) {
      if (!this.#isClosing) this.#close();
      return;
    }
    const isPipe = this.#phase === "pipe";
    this.#exchange.clientEnded();
    if (isPipe) this.#enter("closing");
    else this.#socket.destroy();
  }

  #closed(): void {
    this.#exchange?.clientGone();
    this.#release();
  }

  /** Says that we have said all. The rest of what the client sends is read for a while, so that our answer reaches it. */
  #close(): void {
    this.#enter("closing");
    this.#queue = [];
    this.#queued = 0;
    this.#heldBack = false;
    if (this.#socket.writableLength > 0) this.#watchReader();
    this.#socket.end();
    this.#socket.resume();
  }

  #release(): void {
    if (this.#admission) this.#door.left();
    this.#admission = undefined;
    this.#exchange = undefined;
    this.#head = undefined;
  }

  get #isClosing(): boolean {
    return this.#phase === "closing";
  }

  #enter(phase: Phase): void {
    this.#phase = phase;
    this.#since = this.#works.clock.now;
  }
}

/** A request begins with a letter of its method. TLS to this port, and other protocols, are told at once. */
function refuseGarbage(bytes: Buffer): void {
  const first = bytes[0] ?? 0;
  if (first === 0x16) throw new WireError(400, "this port speaks HTTP without TLS");
  if (first < 0x21 && first !== 0x0d) throw new WireError(400, "malformed request line");
}
