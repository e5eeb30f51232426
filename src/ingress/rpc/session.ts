import type { Socket } from "node:net";
import { createLogger } from "#core/log.ts";
import type { Works } from "#ingress/client.ts";
import { pages } from "#ingress/error-pages.ts";
import { finish, release, returnCapability, returnException, type ExceptionType } from "#ingress/rpc/compose.ts";
import { kinds, readEnvelope, type Address, type Envelope } from "#ingress/rpc/envelope.ts";
import { RpcEvent, type EventSession } from "#ingress/rpc/event.ts";
import { Leg, type LegOwner } from "#ingress/rpc/leg.ts";
import { Frames, malformed } from "#ingress/rpc/message.ts";
import { outbox } from "#ingress/rpc/outbox.ts";
import type { Backend } from "#ingress/upstream.ts";
import type { ServiceEntrypoint } from "#runtime/routes.ts";

const log = createLogger("ingress.rpc");

/** Numbers that a leg's process gives out are told to the caller with the leg's own in the upper bits. */
const legBits = 22;
const legsMax = 2 ** (31 - legBits) - 1;
const idMask = 2 ** legBits - 1;
/** Questions that may never be answered are numbered in a space of their own, without end (`onlyPromisePipeline`). */
const highBit = 2 ** 31;
/** What the caller gets as its bootstrap: not one process's, but whichever answers when it is called. */
const ourExport = 0;

/** The text that workerd gives a connection that ended. */
const lost = "Network connection lost.";

type Question = { event: RpcEvent; mayStayOpen: boolean; returned: boolean; finished: boolean };

/**
 * One connection of a caller's process for one binding. workerd keeps it for as long as it lives, whatever versions of the callee
 * come and go. So it ends here: each call of the binding, an *event*, goes to the process that the routing table names just
 * then, with all that follows from it; a process that no table names any more is let go of when nothing is under way there.
 */
export class RpcSession implements LegOwner, EventSession {
  readonly works: Works;
  readonly #socket: Socket;
  readonly #send: (bytes: Buffer) => void;
  readonly #wanted: ServiceEntrypoint;
  readonly #frames: Frames;
  readonly #legs = new Map<number, Leg>();
  #lastNumber = 0;
  /** The caller's questions: the event that each belongs to, until both its return and its finish have passed. */
  readonly #questions = new Map<number, Question>();
  /** Its questions for the bootstrap. */
  readonly #boots = new Set<number>();
  /** Callees' questions with the high bit, by what the caller was told. */
  readonly #high = new Map<number, { leg: Leg; id: number }>();
  #lastHigh = 0;
  /** Of calls that wait for a process. */
  #heldBytes = 0;
  /** Promises of the caller's, and whom they were given to. */
  readonly #promises = new Map<number, Set<Leg>>();
  #closed = false;

  constructor(socket: Socket, works: Works, wanted: ServiceEntrypoint) {
    this.#socket = socket;
    this.works = works;
    this.#wanted = wanted;
    this.#frames = new Frames(works.limits.rpcMessageBytes);
    this.#send = outbox(socket);
    socket.on("data", (bytes: Buffer) => this.#receive(bytes));
    socket.on("drain", () => {
      for (const leg of this.#legs.values()) leg.resume();
    });
    socket.on("end", () => socket.destroy());
    // What follows an error is `close`.
    socket.on("error", () => {});
    socket.on("close", () => this.#close());
    works.rpc.add(this);
  }

  /** Answers the head that asked for the session. `rest`: what came after it. */
  start(rest: Buffer | undefined): void {
    this.#socket.write("HTTP/1.1 200 OK\r\n\r\n", "latin1");
    if (rest) this.#receive(rest);
  }

  get destination() {
    return { kind: "service", name: this.#wanted.service } as const;
  }

  /** A new table is in force. */
  routesChanged(): void {
    for (const leg of this.#legs.values()) this.#letGoOf(leg);
  }

  legTo(backend: Backend): Leg | undefined {
    for (const leg of this.#legs.values()) if (leg.backend === backend) return leg;
    if (this.#legs.size >= legsMax) return undefined;
    do this.#lastNumber = (this.#lastNumber % legsMax) + 1;
    while (this.#legs.has(this.#lastNumber));
    const { rpcMessageBytes: maxBytes } = this.works.limits;
    const leg = new Leg(this, { backend, number: this.#lastNumber, wanted: this.#wanted, maxBytes });
    this.#legs.set(leg.number, leg);
    return leg;
  }

  legReady(leg: Leg): void {
    for (const event of this.#eventsOn(leg)) event.flush();
  }

  legDrained(): void {
    this.#resume();
  }

  hold(bytes: number): void {
    this.#heldBytes += bytes;
    if (this.#heldBytes > this.works.limits.rpcHeldBytes) this.#socket.pause();
    else if (bytes < 0) this.#resume();
  }

  legRefused(leg: Leg): void {
    this.#legs.delete(leg.number);
    const { service, entrypoint } = this.#wanted;
    const page = pages.noSuchEntrypoint(service.slice(service.indexOf("/") + 1), entrypoint ?? "default");
    for (const event of this.#eventsOn(leg)) event.fail(page);
  }

  legMessage(leg: Leg, envelope: Envelope): void {
    const { kind, id, references, bytes } = envelope;
    for (const reference of references) {
      const { space } = reference;
      if (space === "ownQuestion" || space === "ownExport")
        bytes.writeUInt32LE(this.#told(leg, reference.id), reference.at);
    }
    if (kind === kinds.bootstrap) throw malformed("a bootstrap from a callee");
    if (kind === kinds.call) leg.asking.set(id, bytes.readUInt32LE(references[0]?.at ?? 0));
    else if (kind === kinds.finish && id >= highBit) this.#forgetHigh(leg, id);
    else if (kind === kinds.release) leg.released(id, envelope.count);
    else if (kind === kinds.return) leg.asked.delete(id);
    this.#toCaller(bytes);
    if (kind === kinds.return) this.#returned(id, envelope.flag);
    this.#letGoOf(leg);
  }

  legGone(leg: Leg): void {
    this.#legs.delete(leg.number);
    // What had not begun can go to another process.
    if (!leg.ready) for (const event of this.#eventsOn(leg)) event.again();
    for (const question of leg.asked) this.answer(question, "disconnected", lost);
    for (const question of leg.asking.values()) this.#toCaller(finish(question, { releaseResults: true }));
    for (const [question, { leg: of }] of this.#high) if (of === leg) this.#high.delete(question);
    for (const [exported, count] of leg.held) this.#toCaller(release(exported, count));
    // It may be what the caller waited for.
    this.#resume();
  }

  pass(leg: Leg, envelope: Envelope): void {
    const { kind, id, target, bytes, references } = envelope;
    if (leg.gone) {
      if (kind === kinds.call) this.answer(id, "disconnected", lost);
      return;
    }
    for (const { space, at, id: number } of references) {
      if (space !== "peerQuestion" && space !== "peerExport") continue;
      if (envelope.ours && target?.data === at) continue;
      if (this.#legOf(number) !== leg) return this.#mixed(envelope);
      bytes.writeUInt32LE(this.#high.get(number)?.id ?? number & idMask, at);
    }
    if (target && envelope.ours) {
      bytes.writeUInt16LE(0, target.data + 4);
      bytes.writeUInt32LE(leg.entrypoint, target.data);
    }
    if (kind === kinds.call) leg.asked.add(id);
    else if (kind === kinds.finish && !this.#questions.get(id)) leg.asked.delete(id);
    else if (kind === kinds.return) leg.asking.delete(this.#high.get(id)?.id ?? id & idMask);
    for (const { id: exported, promise } of envelope.handsOver) {
      leg.takes(exported);
      if (promise) this.#promises.set(exported, (this.#promises.get(exported) ?? new Set()).add(leg));
    }
    leg.write(bytes);
    if (leg.blocked) this.#socket.pause();
  }

  /** Answers a question of the caller's that no process will. */
  answer(question: number, type: ExceptionType, reason: string): void {
    this.#toCaller(returnException(question, type, reason));
    this.#returned(question, false);
  }

  #receive(bytes: Buffer): void {
    try {
      for (const message of this.#frames.take(bytes)) {
        if (this.#closed) return;
        this.#route(readEnvelope(message));
      }
    } catch (error) {
      log.warn("a caller's session was cut off", { service: this.#wanted.service, error });
      this.#socket.destroy();
    }
  }

  #route(envelope: Envelope): void {
    const { kind, id, target } = envelope;
    envelope.ours = target !== undefined && this.#isOurs(target);
    switch (kind) {
      case kinds.bootstrap:
        this.#boots.add(id);
        this.#toCaller(returnCapability(id, ourExport));
        return;
      case kinds.call:
        return this.#asked(envelope, target);
      case kinds.finish:
        return this.#finished(envelope);
      case kinds.return:
      case kinds.release: {
        if (kind === kinds.release && id === ourExport) return;
        const leg = this.#legOf(id);
        if (leg?.ready) this.pass(leg, envelope);
        if (leg) this.#letGoOf(leg);
        return;
      }
      case kinds.resolve: {
        const legs = this.#promises.get(id);
        this.#promises.delete(id);
        for (const leg of legs ?? []) this.pass(leg, { ...envelope, bytes: Buffer.from(envelope.bytes) });
        return;
      }
      case kinds.disembargo:
        if (target && !envelope.ours) this.#eventOf(target)?.take(envelope);
    }
  }

  #asked(envelope: Envelope, target: Address | undefined): void {
    const { id } = envelope;
    if (!target || this.#questions.has(id) || this.#questions.size >= this.works.limits.rpcQuestions)
      throw malformed("a question that cannot be asked");
    const event = envelope.ours ? new RpcEvent(this) : this.#eventOf(target);
    this.#questions.set(id, {
      event: event ?? new RpcEvent(this),
      mayStayOpen: envelope.flag,
      returned: false,
      finished: false,
    });
    if (event) event.take(envelope);
    else this.answer(id, "disconnected", lost);
  }

  #finished(envelope: Envelope): void {
    const { id } = envelope;
    if (this.#boots.delete(id)) return;
    const question = this.#questions.get(id);
    if (!question) return;
    question.finished = true;
    // One that need not be answered is over with that.
    if (question.mayStayOpen) this.#returned(id, true);
    if (question.returned) this.#questions.delete(id);
    question.event.take(envelope);
  }

  #returned(id: number, noFinish: boolean): void {
    const question = this.#questions.get(id);
    if (!question || question.returned) return;
    question.returned = true;
    if (noFinish || question.finished) this.#questions.delete(id);
    question.event.answered();
  }

  /** Something of one version's was given to another, whose process cannot reach it. */
  #mixed({ kind, id }: Envelope): void {
    if (kind !== kinds.call) throw malformed("something of another version of the callee");
    this.answer(
      id,
      "failed",
      "jsg.Error: A stub of one version of a Worker cannot be passed to another version of it.",
    );
  }

  /** Whether a message is for what the caller got from us as its bootstrap. */
  #isOurs({ kind, id }: Address): boolean {
    return kind === "export" ? id === ourExport : this.#boots.has(id);
  }

  #eventOf({ kind, id }: Address): RpcEvent | undefined {
    if (kind === "answer") return this.#questions.get(id)?.event;
    const leg = this.#legOf(id);
    return leg && new RpcEvent(this, leg);
  }

  #eventsOn(leg: Leg): Set<RpcEvent> {
    return new Set([...this.#questions.values()].map(({ event }) => event).filter((event) => event.isOn(leg)));
  }

  /** The leg whose process gave out what the caller knows by this number. */
  #legOf(id: number): Leg | undefined {
    return id >= highBit ? this.#high.get(id)?.leg : this.#legs.get(id >>> legBits);
  }

  /** What the caller is told of a number of a leg's process. */
  #told(leg: Leg, id: number): number {
    if (id <= idMask) return (leg.number << legBits) | id;
    if (id < highBit) throw malformed("a number out of range");
    const known = leg.asking.get(id);
    if (known !== undefined) return known;
    this.#lastHigh = (this.#lastHigh + 1) % highBit;
    const told = highBit + this.#lastHigh;
    this.#high.set(told, { leg, id });
    return told;
  }

  #forgetHigh(leg: Leg, id: number): void {
    const told = leg.asking.get(id);
    leg.asking.delete(id);
    if (told !== undefined) this.#high.delete(told);
  }

  #letGoOf(leg: Leg): void {
    if (!leg.backend.retired || !leg.ready || !leg.idle) return;
    this.#legs.delete(leg.number);
    leg.close();
  }

  /** Reads on, unless what was read cannot go on either. */
  #resume(): void {
    if (this.#heldBytes > this.works.limits.rpcHeldBytes) return;
    for (const { blocked } of this.#legs.values()) if (blocked) return;
    this.#socket.resume();
  }

  #toCaller(bytes: Buffer): void {
    if (this.#closed) return;
    this.#send(bytes);
    if (this.#socket.writableNeedDrain) for (const leg of this.#legs.values()) leg.pause();
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const { event } of this.#questions.values()) event.abandon();
    this.#questions.clear();
    for (const leg of this.#legs.values()) leg.close();
    this.#legs.clear();
    this.works.rpc.remove(this);
  }
}
