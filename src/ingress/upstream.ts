import { Socket } from "node:net";
import { dirname, join } from "node:path";
import { systemCode } from "#core/errors.ts";
import { socketNames, type CondemnOutcome, type Via } from "#runtime/routes.ts";
import type { CoarseClock } from "#ingress/clock.ts";
import type { IngressLimits } from "#ingress/limits.ts";

/**
 * How a connection to a process ended.
 * refused: it took nothing of what was sent. unread: it went away before it had read all of it. ended: it closed in order.
 * lost: anything else.
 */
export type Ending = "refused" | "unread" | "ended" | "lost";

/** The exchange that a connection works for. */
export interface UpstreamOwner {
  upstreamConnected(): void;
  upstreamData(bytes: Buffer): void;
  upstreamDrained(): void;
  upstreamGone(how: Ending): void;
}

/**
 * A socket whose failed writes do not end it. A process may answer before it has read a whole body and then close: the
 * write that fails after that must not throw away the answer, which waits to be read. The end is seen by the reading side.
 */
class LenientSocket extends Socket {
  writeFailed = false;

  override _write(chunk: unknown, encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    super._write(chunk, encoding, (error) => this.#written(error, callback));
  }

  override _writev(
    chunks: { chunk: unknown; encoding: BufferEncoding }[],
    callback: (error?: Error | null) => void,
  ): void {
    // Every socket has it; only the type of streams in general says that it may be missing.
    super._writev?.(chunks, (error) => this.#written(error, callback));
  }

  #written(error: Error | null | undefined, callback: (error?: Error | null) => void): void {
    if (error) this.writeFailed = true;
    callback();
  }
}

/** One connection to a process; it works for one exchange at a time. */
export class Upstream {
  readonly backend: Backend;
  readonly #socket = new LenientSocket();
  #owner: UpstreamOwner | undefined;
  #connected = false;
  #refused = false;
  #gone = false;
  #errorCode: string | undefined;
  idleSince = 0;

  /** Whether it may serve one exchange after the other. */
  readonly lasting: boolean;

  constructor(backend: Backend, path = backend.path) {
    this.backend = backend;
    this.lasting = path === backend.path;
    const socket = this.#socket;
    socket.on("connect", () => {
      this.#connected = true;
      this.#owner?.upstreamConnected();
    });
    socket.on("data", (bytes: Buffer) => {
      if (this.#owner) this.#owner.upstreamData(bytes);
      else this.destroy();
    });
    socket.on("drain", () => this.#owner?.upstreamDrained());
    socket.on("end", () => this.#end("ended"));
    socket.on("error", (error) => {
      this.#errorCode = systemCode(error);
    });
    socket.on("close", () => this.#end(this.#errorCode === "ECONNRESET" ? "unread" : "lost"));
    socket.connect({ path });
  }

  get connected(): boolean {
    return this.#connected;
  }

  get gone(): boolean {
    return this.#gone;
  }

  /** Whether it turned out at once that the process had closed it: nothing of what was sent arrived. */
  get refused(): boolean {
    return this.#refused;
  }

  /** Begins an exchange: one write for the head and what there is of the body. */
  begin(owner: UpstreamOwner, head: string, pieces: readonly Buffer[]): boolean {
    this.#owner = owner;
    const socket = this.#socket;
    let room = true;
    if (pieces.length === 0) room = socket.write(head, "latin1");
    else {
      socket.cork();
      socket.write(head, "latin1");
      for (const piece of pieces) room = socket.write(piece);
      socket.uncork();
    }
    // Known only when it fails at once: a write that fails later may have brought over a part.
    if (socket.writeFailed) this.#refused = true;
    return room;
  }

  write(bytes: Buffer): boolean {
    return this.#socket.write(bytes);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Says that nothing more will be sent; for connections that became a pipe. */
  end(): void {
    this.#socket.end();
  }

  /** Ends the exchange and keeps the connection for the next one. */
  release(): void {
    this.#owner = undefined;
    this.#socket.resume();
    this.backend.keep(this);
  }

  /** Closes at once; its owner is not told. */
  destroy(): void {
    this.#owner = undefined;
    this.#socket.destroy();
  }

  #end(how: Ending): void {
    if (this.#gone) return;
    this.#gone = true;
    this.backend.forget(this);
    const owner = this.#owner;
    this.#owner = undefined;
    this.#socket.destroySoon();
    owner?.upstreamGone(this.#connected && !this.#refused ? how : "refused");
  }
}

/** How much a target is used, over all its processes. */
export type Usage = { requestsStarted: number; lastUsedMs: number };

/** One unix socket of a process: its kept connections and what is under way on it. */
export class Backend {
  readonly path: string;
  /** Target of the routing table that it belongs, or last belonged, to; empty for the console and the platform's services. */
  target = "";
  usage: Usage | undefined;
  /** Requests under way, WebSockets not among them. */
  requests = 0;
  webSockets = 0;
  /** Why its process is being killed, if it is. */
  condemned: CondemnOutcome | undefined;
  /** No table names it any more: nothing new is sent to it, and its process waits for its connections to close. */
  retired = false;
  readonly #limits: IngressLimits;
  readonly #clock: CoarseClock;
  /** The longest idle first. */
  #idle: Upstream[] = [];

  constructor(path: string, limits: IngressLimits, clock: CoarseClock) {
    this.path = path;
    this.#limits = limits;
    this.#clock = clock;
  }

  get open(): number {
    return this.requests + this.webSockets;
  }

  /** Another socket of the same process. */
  sibling(name: string): string {
    return join(dirname(this.path), name);
  }

  /** Counts a request that is sent to it. */
  enter(): void {
    this.requests++;
    if (this.usage) this.usage.requestsStarted++;
  }

  becomesWebSocket(): void {
    this.requests--;
    this.webSockets++;
  }

  leave(how: "request" | "webSocket"): void {
    if (how === "webSocket") this.webSockets--;
    else this.requests--;
    if (this.usage) this.usage.lastUsedMs = this.#clock.now;
  }

  /** A connection to use: one that was kept, else a new one that is connecting. */
  take(options: { fresh: boolean; via: Via }): Upstream {
    if (options.via !== "http") return new Upstream(this, this.sibling(socketNames[options.via]));
    return (options.fresh ? undefined : this.#idle.pop()) ?? new Upstream(this);
  }

  keep(upstream: Upstream): void {
    if (this.retired || upstream.gone || !upstream.lasting || this.#idle.length >= this.#limits.idleUpstreams) {
      upstream.destroy();
      return;
    }
    upstream.idleSince = this.#clock.now;
    this.#idle.push(upstream);
  }

  forget(upstream: Upstream): void {
    const at = this.#idle.indexOf(upstream);
    if (at >= 0) this.#idle.splice(at, 1);
  }

  /** Closes connections that nobody used for a while. */
  sweep(now: number): void {
    while (this.#idle[0] && now - this.#idle[0].idleSince > this.#limits.idleUpstreamMs) this.#idle.shift()?.destroy();
  }

  retire(): void {
    this.retired = true;
    this.closeIdle();
  }

  closeIdle(): void {
    for (const upstream of this.#idle) upstream.destroy();
    this.#idle = [];
  }
}
