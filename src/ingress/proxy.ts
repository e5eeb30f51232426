import { createLogger } from "#core/log.ts";
import { bodyReader, type BodyReader } from "#http/wire/body.ts";
import { WireError, type RequestHead } from "#http/wire/head.ts";
import { Answer, type AnswerSink } from "#ingress/answer.ts";
import type { Client, Works } from "#ingress/client.ts";
import type { Admission } from "#ingress/door.ts";
import { pages, type Page } from "#ingress/error-pages.ts";
import { Asleep, type Destination } from "#ingress/routing.ts";
import { Backend, type Ending, type Upstream, type UpstreamOwner } from "#ingress/upstream.ts";
import type { WaitsFor } from "#ingress/waiting-room.ts";

const log = createLogger("ingress.proxy");

/** Requests that change nothing, and may therefore be run twice (RFC 9110 §9.2.1). */
const safeMethods = new Set(["GET", "HEAD", "OPTIONS"]);

type Stage =
  /** No process yet. */
  | "seeking"
  /** The request is with a process, or on its way to one. */
  | "asked"
  | "pipe"
  | "over";

/** One request from its head to the last byte of its answer: what happens between a client and a process. */
export class Exchange implements UpstreamOwner, AnswerSink {
  readonly #client: Client;
  readonly #works: Works;
  readonly #head: RequestHead;
  readonly #admission: Admission;
  readonly #body: BodyReader;
  readonly #answer: Answer;
  #stage: Stage = "seeking";
  #upstream: Upstream | undefined;
  #backend: Backend | undefined;

  /** The body so far, while the request could still be sent once more. */
  #kept: Buffer[] | undefined = [];
  #keptBytes = 0;
  #clientPaused = false;
  #repeated = false;
  /** Kept connections may be dead: only a new one will do. */
  #fresh = false;
  #heldSinceMs: number | undefined;
  #drawn: number | undefined;
  #toldToContinue = false;
  /** When the client was last heard of; after the body's end, when the wait for an answer began. */
  #heardAt: number;

  constructor(client: Client, works: Works, head: RequestHead, admission: Admission) {
    this.#client = client;
    this.#works = works;
    this.#head = head;
    this.#admission = admission;
    this.#body = bodyReader(head.framing);
    this.#answer = new Answer(this, { head, admission, bare: client.bare }, works.limits, works.date);
    this.#heardAt = works.clock.now;
  }

  /** Whether bytes from the client belong to this exchange. */
  get wantsMore(): boolean {
    return !this.#body.done || this.#stage === "pipe";
  }

  /** Sends the request on its way. What came of the body with the head was given to `receive` before. */
  start(): void {
    this.tryAgain();
  }

  /** Bytes from the client; how many of them belong to this exchange. */
  receive(bytes: Buffer): number {
    if (this.#stage === "pipe") {
      if (this.#upstream && !this.#upstream.write(bytes)) this.#pauseClient();
      return bytes.length;
    }
    if (this.#body.done) return 0;
    let used: number;
    try {
      used = this.#body.read(bytes, 0);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#fail(pages.broken(error.status, error.message));
      return bytes.length;
    }
    if (this.#body.contentBytes > this.#admission.bodyBytesMax) {
      this.#fail(pages.bodyTooLarge(this.#admission.bodyBytesMax), false);
      return bytes.length;
    }
    this.#heardAt = this.#works.clock.now;
    this.#forward(used === bytes.length ? bytes : bytes.subarray(0, used));
    return used;
  }

  /** Looks for a process and sends it the request, or waits. */
  tryAgain(): void {
    if (this.#stage !== "seeking") return;
    const { routing, waker } = this.#works;
    const picked = routing.pick(this.#admission.destination, this.#head.fields, this);
    if (picked instanceof Backend) this.#ask(picked);
    else if (picked instanceof Asleep) this.#hold("start", waker.wakeTarget(picked.target, routing.generation));
    else if (picked === "starting") this.#hold("process", true);
    else if (picked === "down") this.#fail(pages.workerDown());
    else this.#seekHost();
  }

  /** Where in a split this request falls: drawn once, so that waiting for one version is not a way to another. */
  draw(): number {
    this.#drawn ??= Math.random();
    return this.#drawn;
  }

  /** The client takes bytes again. */
  clientDrained(): void {
    this.#upstream?.resume();
  }

  /** The client will send nothing more. In the middle of an exchange that is how a client that left looks. */
  clientEnded(): void {
    if (this.#stage === "pipe") this.#upstream?.end();
    else this.#abandon();
  }

  clientGone(): void {
    this.#abandon();
  }

  /** Looks at the time limits. */
  sweep(now: number): void {
    if (this.#stage === "pipe" || this.#stage === "over") return;
    const { limits, firstByteMs } = this.#works;
    const silentMs = now - this.#heardAt;
    if (!this.#body.done) {
      if (this.#clientPaused) {
        // Its process takes nothing of the body, and says nothing either.
        if (silentMs > firstByteMs) this.#fail(pages.tooSlow());
      } else if (silentMs > limits.bodyIdleMs)
        this.#fail(pages.broken(408, `nothing of the body came for ${Math.round(limits.bodyIdleMs / 1000)} s`));
    } else if (this.#stage === "asked" && !this.#answer.touched && silentMs > firstByteMs) this.#fail(pages.tooSlow());
  }

  upstreamConnected(): void {
    if (this.#keptBytes > this.#works.limits.replayBytes) this.#kept = undefined;
    this.#resumeClient();
  }

  upstreamDrained(): void {
    this.#resumeClient();
  }

  upstreamData(bytes: Buffer): void {
    if (this.#stage === "pipe") return this.send(bytes);
    try {
      this.#answer.read(bytes);
    } catch (error) {
      // Whatever it is, only this exchange may end by it: the process serves everybody.
      if (!(error instanceof WireError)) log.error("an answer could not be passed on", { error });
      this.#fail(pages.badAnswer());
    }
  }

  upstreamGone(how: Ending): void {
    this.#upstream = undefined;
    const condemned = this.#backend?.condemned;
    if (this.#stage === "pipe") {
      this.#leave();
      this.#client.endPipe();
    } else if (how === "ended" && !condemned && this.#answer.upstreamEnded()) return;
    else if (this.#mayRepeat(how)) this.#repeat(how);
    else this.#fail(condemned ? pages.exceededLimits(condemned) : pages.workerDied());
  }

  answerComes(): void {
    this.#kept = undefined;
  }

  mayKeepClient(upstreamKeeps: boolean): boolean {
    return !this.#works.stopping && (this.#body.done || upstreamKeeps);
  }

  sendHead(head: string, body: Buffer | undefined): void {
    if (!this.#client.sendHead(head, body)) this.#upstream?.pause();
  }

  send(bytes: Buffer): void {
    if (!this.#client.send(bytes)) this.#upstream?.pause();
  }

  answerEnds(reusable: boolean, closeClient: boolean): void {
    const upstream = this.#upstream;
    this.#upstream = undefined;
    // A process that has answered and not read the whole body is left: what would follow is no new request.
    if (upstream && reusable && this.#body.done) upstream.release();
    else upstream?.destroy();
    this.#leave();
    this.#stage = "over";
    this.#client.finished(!closeClient && this.#body.done);
  }

  answerIsException(): void {
    this.#fail(pages.exception());
  }

  switchProtocols(head: string, rest: Buffer): void {
    this.#stage = "pipe";
    this.#backend?.becomesWebSocket();
    this.sendHead(head, rest.length > 0 ? rest : undefined);
    this.#client.becomePipe();
  }

  #forward(piece: Buffer): void {
    const upstream = this.#upstream;
    if (this.#kept) {
      this.#kept.push(piece);
      this.#keptBytes += piece.length + this.#works.limits.pieceBytes;
      // Before there is a connection everything must be kept; the client is held back instead of growing the heap.
      if (this.#keptBytes > this.#works.limits.replayBytes) {
        if (upstream?.connected) this.#kept = undefined;
        else this.#pauseClient();
      }
    }
    if (upstream && !upstream.write(piece) && !this.#body.done) this.#pauseClient();
  }

  #ask(backend: Backend): void {
    this.#tellToContinue();
    const upstream = backend.take({ fresh: this.#fresh, via: this.#admission.via });
    this.#backend = backend;
    this.#upstream = upstream;
    backend.enter();
    this.#stage = "asked";
    const room = upstream.begin(this, this.#admission.head, this.#kept ?? []);
    if (upstream.refused) {
      upstream.destroy();
      this.#upstream = undefined;
      return this.#repeat("refused");
    }
    if (!room && !this.#body.done) this.#pauseClient();
    else if (upstream.connected) this.upstreamConnected();
    if (this.#body.done) this.#heardAt = this.#works.clock.now;
  }

  /** A body is asked for when there is somebody to give it to. */
  #tellToContinue(): void {
    if (this.#toldToContinue || !this.#head.expectContinue || this.#body.done || this.#keptBytes > 0) return;
    this.#toldToContinue = true;
    this.#client.sendHead("HTTP/1.1 100 Continue\r\n\r\n", undefined);
  }

  /** Nobody answers for this. A host may be one that the table does not name because nobody has asked for it lately. */
  #seekHost(): void {
    const { destination, nothingThere } = this.#admission;
    if (!nothingThere || destination.kind !== "host") return this.#fail(nobodyPage(destination));
    const { routing, waker } = this.#works;
    const known = waker.wakeHost(destination.host, routing.generation);
    if (known === "no") this.#fail(nothingThere);
    else this.#hold("host", known === "yes");
  }

  /** Waits for a better table. `asked`: whether the supervisor could be told what is missing. */
  #hold(what: WaitsFor, asked: boolean): void {
    const { limits, waiting } = this.#works;
    const now = performance.now();
    this.#heldSinceMs ??= now;
    const holdMs = what === "start" && asked ? limits.wakeMs : limits.holdMs;
    if (now - this.#heldSinceMs >= holdMs) this.#fail(asked ? waitedPage(this.#admission) : pages.supervisorDown());
    else if (!waiting.enter(this, what)) this.#fail(pages.overloaded());
    else if (!this.#body.done) this.#pauseClient();
  }

  /** Whether the request can be sent to another connection without running it twice, or is one that may run twice. */
  #mayRepeat(how: Ending): boolean {
    if (this.#kept === undefined || this.#answer.touched) return false;
    if (how === "refused") return true;
    const bodyless = this.#keptBytes === 0 && this.#body.done;
    // A process that closes before it has read what we sent makes our side fail with a reset: then it has not begun.
    if (how === "unread" && bodyless) return true;
    // What its process was at work on may be what it is killed for: once more would kill the next one.
    if (this.#backend?.condemned) return false;
    return bodyless && safeMethods.has(this.#head.method) && !this.#repeated;
  }

  #repeat(how: Ending): void {
    this.#leave();
    this.#stage = "seeking";
    if (how !== "refused") this.#repeated = true;
    const wasFresh = this.#fresh;
    this.#fresh = true;
    if (wasFresh) this.#hold("process", true);
    else this.tryAgain();
  }

  /** Ends the exchange with `page`, or by cutting the answer off when it has begun. */
  #fail(page: Page, keep = this.#body.done): void {
    const begun = this.#answer.begun || this.#stage === "pipe";
    this.#abandon();
    if (begun) this.#client.cut(!this.#answer.framed);
    else this.#client.refused(page, keep);
  }

  /** Lets go of everything; the process sees its connection close at once. */
  #abandon(): void {
    if (this.#stage === "seeking") this.#works.waiting.leave(this);
    this.#upstream?.destroy();
    this.#upstream = undefined;
    this.#leave();
    this.#stage = "over";
    this.#kept = undefined;
  }

  /** Stops counting as under way at the process. */
  #leave(): void {
    const backend = this.#backend;
    if (!backend) return;
    this.#backend = undefined;
    backend.leave(this.#stage === "pipe" ? "webSocket" : "request");
  }

  #pauseClient(): void {
    this.#clientPaused = true;
    this.#client.pause();
  }

  #resumeClient(): void {
    if (!this.#clientPaused) return;
    this.#clientPaused = false;
    this.#heardAt = this.#works.clock.now;
    this.#client.resume();
  }
}

function waitedPage({ by }: Admission): Page {
  if (by === "console") return pages.consoleDown();
  return by === "platform" ? pages.serviceDown() : pages.workerStarting();
}

function nobodyPage(destination: Destination): Page {
  if (destination.kind === "host") return pages.noLongerThere();
  return pages.noSuchService(destination.name.slice(destination.name.indexOf("/") + 1));
}
