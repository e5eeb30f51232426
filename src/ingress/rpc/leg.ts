import { Socket } from "node:net";
import { createLogger } from "#core/log.ts";
import { bootstrap, finish, getEntrypoint } from "#ingress/rpc/compose.ts";
import { kinds, readEnvelope, type Envelope } from "#ingress/rpc/envelope.ts";
import { Frames } from "#ingress/rpc/message.ts";
import { outbox } from "#ingress/rpc/outbox.ts";
import type { Backend } from "#ingress/upstream.ts";
import { socketNames, type ServiceEntrypoint } from "#runtime/routes.ts";

export interface LegOwner {
  legReady(leg: Leg): void;
  /** Its process has no such entrypoint. */
  legRefused(leg: Leg): void;
  legMessage(leg: Leg, envelope: Envelope): void;
  legDrained(): void;
  /** Not called after `close`. */
  legGone(leg: Leg): void;
}

const log = createLogger("ingress.rpc");

/** The service of a Worker's process that holds the user's code. */
const userService = "user";
/** Questions of our own, over before the first of the caller's. */
const bootQuestion = 0xffff_fffe;
const entryQuestion = 0xffff_ffff;

/**
 * A connection of one caller's session to one process of the callee. It begins at the process's debug port, by which every
 * service in it can be had; asks there for the one entrypoint that the binding leads to, with the binding's props; and lets go
 * of the port. Only then do bytes of the caller's pass: by that time nothing else can be named on the connection.
 */
export class Leg {
  readonly backend: Backend;
  /** Distinguishes it from the caller's other legs: added to the numbers that its process gives out. */
  readonly number: number;
  ready = false;
  gone = false;
  /** The callee's number of the entrypoint. */
  entrypoint = 0;
  /** Questions of the caller's that its process has not answered; and its own, with what the caller knows them by. */
  readonly asked = new Set<number>();
  readonly asking = new Map<number, number>();
  /** What of the caller's its process holds, and how often it was told of it. */
  readonly held = new Map<number, number>();
  readonly #owner: LegOwner;
  readonly #socket: Socket;
  readonly #send: (bytes: Buffer) => void;
  readonly #frames: Frames;

  constructor(
    owner: LegOwner,
    {
      backend,
      number,
      wanted,
      maxBytes,
    }: { backend: Backend; number: number; wanted: ServiceEntrypoint; maxBytes: number },
  ) {
    this.backend = backend;
    this.number = number;
    this.#owner = owner;
    this.#frames = new Frames(maxBytes);
    const socket = new Socket();
    this.#socket = socket;
    this.#send = outbox(socket);
    socket.on("data", (bytes: Buffer) => this.#receive(bytes));
    socket.on("drain", () => owner.legDrained());
    socket.on("end", () => socket.destroy());
    // What follows an error is `close`.
    socket.on("error", () => {});
    socket.on("close", () => this.#end());
    socket.connect({ path: backend.sibling(socketNames.debug) });
    const { entrypoint, props } = wanted;
    socket.write(
      Buffer.concat([
        bootstrap(bootQuestion),
        getEntrypoint(entryQuestion, bootQuestion, { service: userService, entrypoint, props }),
      ]),
    );
  }

  /** Whether nothing is under way on it. */
  get idle(): boolean {
    return this.asked.size === 0 && this.asking.size === 0;
  }

  get blocked(): boolean {
    return this.#socket.writableNeedDrain;
  }

  /** Its process holds one more reference to something of the caller's. */
  takes(exported: number): void {
    this.held.set(exported, (this.held.get(exported) ?? 0) + 1);
  }

  released(exported: number, count: number): void {
    const left = (this.held.get(exported) ?? 0) - count;
    if (left > 0) this.held.set(exported, left);
    else this.held.delete(exported);
  }

  write(bytes: Buffer): void {
    this.#send(bytes);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  close(): void {
    this.gone = true;
    this.#socket.destroy();
  }

  #receive(bytes: Buffer): void {
    try {
      for (const message of this.#frames.take(bytes)) {
        if (this.gone) return;
        const envelope = readEnvelope(message);
        if (this.ready) this.#owner.legMessage(this, envelope);
        else this.#prepare(envelope);
      }
    } catch (error) {
      // Its calls end as if it had died.
      log.warn("a callee's session was cut off", { target: this.backend.target, error });
      this.#socket.destroy();
    }
  }

  #prepare(envelope: Envelope): void {
    const { kind, id, handsOver } = envelope;
    // The port itself comes before that.
    if (kind !== kinds.return || id !== entryQuestion) return;
    const [entrypoint] = handsOver;
    if (!entrypoint) {
      this.close();
      this.#owner.legRefused(this);
      return;
    }
    this.entrypoint = entrypoint.id;
    this.write(
      Buffer.concat([finish(entryQuestion, { releaseResults: false }), finish(bootQuestion, { releaseResults: true })]),
    );
    this.ready = true;
    this.#owner.legReady(this);
  }

  #end(): void {
    if (this.gone) return;
    this.gone = true;
    this.#owner.legGone(this);
  }
}
