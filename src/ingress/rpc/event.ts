import { pages, type Page } from "#ingress/error-pages.ts";
import type { ExceptionType } from "#ingress/rpc/compose.ts";
import { kinds, type Envelope } from "#ingress/rpc/envelope.ts";
import type { Leg } from "#ingress/rpc/leg.ts";
import type { Works } from "#ingress/client.ts";
import { Asleep, type Destination } from "#ingress/routing.ts";
import { Backend } from "#ingress/upstream.ts";
import type { Waiting, WaitsFor } from "#ingress/waiting-room.ts";

/** What an event needs of the session that it is part of. */
export interface EventSession {
  readonly works: Works;
  readonly destination: Destination & { kind: "service" };
  /** Undefined when it is on too many processes already. */
  legTo(backend: Backend): Leg | undefined;
  /** Counts bytes of its calls that begin to wait, or with a negative number that no longer do. */
  hold(bytes: number): void;
  pass(leg: Leg, envelope: Envelope): void;
  answer(question: number, type: ExceptionType, reason: string): void;
}

/** One call of a binding, and all that follows from it: it is given to one process of the callee, or waits for one. */
export class RpcEvent implements Waiting {
  readonly #session: EventSession;
  #leg: Leg | undefined;
  /** What came before its process was ready. */
  readonly #queue: Envelope[] = [];
  /** Its questions that have no answer. */
  #open = 0;
  #counted: Backend | undefined;
  #heldSinceMs: number | undefined;
  #drawn: number | undefined;
  #failure: Page | undefined;

  /** With a leg: what belongs to something that its process handed out, and is counted with that. */
  constructor(session: EventSession, leg?: Leg) {
    this.#session = session;
    this.#leg = leg;
    this.#handedOut = leg !== undefined;
  }
  readonly #handedOut: boolean;

  isOn(leg: Leg): boolean {
    return this.#leg === leg;
  }

  /** A message of the caller's that belongs to it. */
  take(envelope: Envelope): void {
    const isCall = envelope.kind === kinds.call;
    if (isCall) this.#open++;
    if (this.#failure) {
      if (isCall) this.#refuse(envelope.id, this.#failure);
      return;
    }
    if (this.#leg?.ready) {
      this.#count();
      this.#session.pass(this.#leg, envelope);
      return;
    }
    this.#queue.push(envelope);
    this.#session.hold(envelope.bytes.length);
    if (!this.#leg && this.#queue.length === 1) this.tryAgain();
  }

  /** The process is there. */
  flush(): void {
    const leg = this.#leg;
    if (!leg) return;
    this.#count();
    for (const envelope of this.#takeQueue()) this.#session.pass(leg, envelope);
  }

  /** The process went away before it took anything. */
  again(): void {
    this.#leg = undefined;
    this.#uncount();
    this.#hold("process", true);
  }

  tryAgain(): void {
    if (this.#leg || this.#failure) return;
    const { works, destination } = this.#session;
    const { routing, waker } = works;
    const picked = routing.pick(destination, [], this);
    if (picked instanceof Backend) {
      this.#leg = this.#session.legTo(picked);
      if (!this.#leg) this.#fail(pages.overloaded());
      else if (this.#leg.ready) this.flush();
    } else if (picked instanceof Asleep) this.#hold("start", waker.wakeTarget(picked.target, routing.generation));
    else if (picked === "starting") this.#hold("process", true);
    else if (picked === "down") this.#fail(pages.workerDown());
    else this.#fail(pages.noSuchService(destination.name.slice(destination.name.indexOf("/") + 1)));
  }

  /** Drawn once, so that waiting for one version is not a way to another. */
  draw(): number {
    this.#drawn ??= Math.random();
    return this.#drawn;
  }

  /** Nobody will take it. */
  fail(page: Page): void {
    this.#leg = undefined;
    this.#fail(page);
  }

  /** One of its questions has its answer. */
  answered(): void {
    this.#open--;
    if (this.#open === 0) this.#uncount();
  }

  /** Nobody waits for it any more. */
  abandon(): void {
    this.#session.works.waiting.leave(this);
    this.#takeQueue();
    this.#uncount();
  }

  #takeQueue(): Envelope[] {
    const taken = this.#queue.splice(0);
    this.#session.hold(-taken.reduce((sum, { bytes }) => sum + bytes.length, 0));
    return taken;
  }

  #hold(what: WaitsFor, asked: boolean): void {
    const { limits, waiting } = this.#session.works;
    const now = performance.now();
    this.#heldSinceMs ??= now;
    const holdMs = what === "start" && asked ? limits.wakeMs : limits.holdMs;
    if (now - this.#heldSinceMs >= holdMs) this.#fail(asked ? pages.workerStarting() : pages.supervisorDown());
    else if (!waiting.enter(this, what)) this.#fail(pages.overloaded());
  }

  #fail(page: Page): void {
    this.#failure = page;
    for (const { kind, id } of this.#takeQueue()) if (kind === kinds.call) this.#refuse(id, page);
  }

  #refuse(question: number, { title, detail, status }: Page): void {
    this.#session.answer(question, status === 503 ? "overloaded" : "failed", `jsg.Error: ${title}. ${detail}`);
  }

  #count(): void {
    if (this.#counted || this.#handedOut || !this.#leg || this.#open === 0) return;
    this.#counted = this.#leg.backend;
    this.#counted.enter();
  }

  #uncount(): void {
    this.#counted?.leave("request");
    this.#counted = undefined;
  }
}
