import { bodyReader, type BodyReader } from "#http/wire/body.ts";
import { parseResponseHead, WireError, type RequestHead, type ResponseHead } from "#http/wire/head.ts";
import type { CoarseClock } from "#ingress/clock.ts";
import type { Admission } from "#ingress/door.ts";
import { pages, type Page } from "#ingress/error-pages.ts";
import { HeadReader } from "#ingress/head-reader.ts";
import type { IngressLimits } from "#ingress/limits.ts";
import {
  clientHead,
  exceptionBody,
  isExceptionHead,
  planResponse,
  switchingHead,
  type ResponsePlan,
} from "#ingress/response-head.ts";
import type { Routing } from "#ingress/routing.ts";
import type { Backend, Ending, Upstream, UpstreamOwner } from "#ingress/upstream.ts";
import type { WaitingRoom } from "#ingress/waiting-room.ts";

/** The client's side of an exchange. */
export interface Client {
  /** Sends a head and what there is of the body, in one write. False: wait for `clientDrained`. */
  sendHead(head: string, body: Buffer | undefined): boolean;
  send(bytes: Buffer): boolean;
  pause(): void;
  resume(): void;
  /** The answer is complete. `keep`: the connection may carry another request. */
  finished(keep: boolean): void;
  /** Answers with a page. */
  refused(page: Page, keep: boolean): void;
  /** What was sent must not look complete. `unframed`: an orderly end of the connection would look like the answer's end. */
  cut(unframed: boolean): void;
  /** The connection is a pipe from here on. What the client sent meanwhile is returned. */
  becomePipe(): Buffer[];
  /** The pipe's other end has nothing more to say. */
  endPipe(): void;
}

/** What every exchange uses. */
export type Works = {
  routing: Routing;
  waiting: WaitingRoom;
  limits: IngressLimits;
  clock: CoarseClock;
  firstByteMs: number;
  date: () => string;
  /** The ingress is stopping: connections are not kept. */
  stopping: boolean;
};

const safeMethods = new Set(["GET", "HEAD", "OPTIONS"]);

type Stage =
  /** No connection to a process yet. */
  | "seeking"
  /** The request is on its way, nothing has come back. */
  | "asked"
  /** The head looks like that of an exception; the body decides. */
  | "doubtful"
  | "answering"
  | "pipe"
  | "over";

/** One request from its head to the last byte of its answer: the state machine between a client and a process. */
export class Exchange implements UpstreamOwner {
  readonly #client: Client;
  readonly #works: Works;
  readonly #head: RequestHead;
  readonly #admission: Admission;
  readonly #body: BodyReader;
  #stage: Stage = "seeking";
  #upstream: Upstream | undefined;
  #backend: Backend | undefined;

  /** The body so far, while the request could still be sent once more. */
  #kept: Buffer[] | undefined = [];
  #keptBytes = 0;
  #clientPaused = false;
  #repeated = false;
  #fresh = false;
  #giveUpAt: number | undefined;
  /** When the client was last heard of; after the body's end, when the wait for an answer began. */
  #heardAt: number;

  readonly #responses: HeadReader;
  #answer: BodyReader | undefined;
  #plan: ResponsePlan = { dechunk: false, close: true };
  #framed = true;
  #keepUpstream = false;
  #doubt: { head: ResponseHead; text: string; body: Buffer } | undefined;

  constructor(client: Client, works: Works, head: RequestHead, admission: Admission) {
    this.#client = client;
    this.#works = works;
    this.#head = head;
    this.#admission = admission;
    this.#body = bodyReader(head.framing);
    this.#responses = new HeadReader(works.limits.headBytes);
    this.#heardAt = works.clock.now;
  }

  /** Whether bytes from the client belong to this exchange. */
  get wantsMore(): boolean {
    return !this.#body.done || this.#stage === "pipe";
  }

  /** Sends the request on its way. What came of the body with the head was given to `receive` before. */
  start(): void {
    if (this.#stage !== "seeking") return;
    if (this.#head.expectContinue && !this.#body.done && this.#keptBytes === 0)
      this.#client.sendHead("HTTP/1.1 100 Continue\r\n\r\n", undefined);
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
      this.#fail(pages.bodyTooLarge(this.#admission.bodyBytesMax));
      return bytes.length;
    }
    this.#heardAt = this.#works.clock.now;
    this.#forward(used === bytes.length ? bytes : bytes.subarray(0, used));
    return used;
  }

  /** Looks for a process and sends it the request, or waits. */
  tryAgain(): void {
    if (this.#stage !== "seeking") return;
    const picked = this.#works.routing.pick(this.#admission.destination, this.#head.fields);
    if (picked === "nobody") this.#fail(nobodyPage(this.#admission));
    else if (picked === "down") this.#fail(pages.workerDown());
    else if (picked === "starting") this.#hold();
    else this.#ask(picked);
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
      if (!this.#clientPaused && silentMs > limits.bodyIdleMs)
        this.#fail(pages.broken(408, `nothing of the body came for ${Math.round(limits.bodyIdleMs / 1000)} s`));
    } else if (this.#stage === "asked" && silentMs > firstByteMs) this.#fail(pages.tooSlow());
  }

  upstreamConnected(): void {
    if (this.#keptBytes > this.#works.limits.replayBytes) this.#kept = undefined;
    this.#resumeClient();
  }

  upstreamDrained(): void {
    this.#resumeClient();
  }

  upstreamData(bytes: Buffer): void {
    try {
      if (this.#stage === "answering") this.#pass(bytes, 0);
      else if (this.#stage === "pipe") this.#sendToClient(bytes);
      else if (this.#stage === "doubtful") this.#resolveDoubt(bytes);
      else this.#readHeads(bytes);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#fail(pages.badAnswer());
    }
  }

  upstreamGone(how: Ending): void {
    this.#upstream = undefined;
    if (this.#stage === "pipe") {
      this.#leave();
      this.#client.endPipe();
    } else if (this.#stage === "answering" && !this.#framed && how === "ended" && !this.#plan.dechunk)
      this.#complete();
    else if (this.#stage === "asked" && this.#mayRepeat(how)) this.#repeat(how);
    else this.#fail(pages.workerDied());
  }

  #forward(piece: Buffer): void {
    const upstream = this.#upstream;
    if (this.#kept) {
      this.#kept.push(piece);
      this.#keptBytes += piece.length;
      // Before there is a connection everything must be kept; the client is held back instead of growing the heap.
      if (this.#keptBytes > this.#works.limits.replayBytes) {
        if (upstream?.connected) this.#kept = undefined;
        else this.#pauseClient();
      }
    }
    if (upstream && !upstream.write(piece) && !this.#body.done) this.#pauseClient();
  }

  #ask(backend: Backend): void {
    const upstream = backend.take({ fresh: this.#fresh });
    this.#backend = backend;
    this.#upstream = upstream;
    backend.requests++;
    this.#stage = "asked";
    const room = upstream.begin(this, this.#admission.head, this.#kept ?? []);
    if (!room && !this.#body.done) this.#pauseClient();
    else if (upstream.connected) this.upstreamConnected();
    if (this.#body.done) this.#heardAt = this.#works.clock.now;
  }

  #hold(): void {
    const now = performance.now();
    this.#giveUpAt ??= now + this.#works.limits.holdMs;
    if (now >= this.#giveUpAt) {
      this.#fail(this.#admission.destination.kind === "host" && this.#isConsole() ? pages.consoleDown() : pages.workerStarting());
    } else if (!this.#works.waiting.enter(this)) this.#fail(pages.overloaded());
  }

  #isConsole(): boolean {
    return this.#works.routing.routeOf(this.#admission.destination) === "console";
  }

  /** Whether the request can be sent to another connection without running it twice, or is one that may run twice. */
  #mayRepeat(how: Ending): boolean {
    if (this.#kept === undefined || this.#responses.begun) return false;
    if (how === "refused") return true;
    const bodyless = this.#keptBytes === 0;
    // A process that closes before it has read what we sent makes our side fail with a reset: then it has not begun.
    if (how === "unread" && bodyless) return true;
    return bodyless && safeMethods.has(this.#head.method) && !this.#repeated;
  }

  #repeat(how: Ending): void {
    this.#leave();
    this.#stage = "seeking";
    // Other kept connections may be as dead as this one was.
    const wasFresh = this.#fresh;
    this.#fresh = true;
    if (how !== "refused") this.#repeated = true;
    if (wasFresh) this.#hold();
    else this.tryAgain();
  }

  #readHeads(bytes: Buffer): void {
    let from = 0;
    while (from < bytes.length) {
      const end = this.#responses.take(bytes, from);
      if (end < 0) return;
      const text = this.#responses.text;
      const head = parseResponseHead(text, {
        fieldsMax: this.#works.limits.headerFields,
        bodyless: this.#head.method === "HEAD",
      });
      if (head.status === 101) return this.#switch(text, head, bytes.subarray(end));
      if (head.status >= 200) return this.#beginAnswer(text, head, bytes, end);
      // What was interim is done with: the client was told to continue by us, and other hints are not passed on.
      from = end;
    }
  }

  #beginAnswer(text: string, head: ResponseHead, bytes: Buffer, from: number): void {
    this.#kept = undefined;
    this.#keepUpstream = head.keepAlive && head.framing.kind !== "close";
    if (this.#admission.dressed && isExceptionHead(head) && !this.#isConsole()) {
      if (this.#head.method === "HEAD") return this.#fail(pages.exception());
      this.#stage = "doubtful";
      this.#doubt = { head, text, body: Buffer.alloc(0) };
      return this.#resolveDoubt(bytes.subarray(from));
    }
    this.#answerWith(text, head, bytes, from);
  }

  #resolveDoubt(bytes: Buffer): void {
    const doubt = this.#doubt;
    if (!doubt) return;
    doubt.body = Buffer.concat([doubt.body, bytes]);
    if (doubt.body.equals(exceptionBody)) this.#fail(pages.exception());
    else if (doubt.body.length >= exceptionBody.length || !exceptionBody.subarray(0, doubt.body.length).equals(doubt.body))
      this.#answerWith(doubt.text, doubt.head, doubt.body, 0);
  }

  #answerWith(text: string, head: ResponseHead, bytes: Buffer, from: number): void {
    const works = this.#works;
    const mayKeep = !works.stopping && (this.#body.done || head.keepAlive);
    const plan = planResponse(this.#head, head, mayKeep);
    const { ray, dressed } = this.#admission;
    const stamp = dressed ? { ray, date: works.date() } : undefined;
    const ours = clientHead(text, head, this.#head, plan, stamp);
    this.#stage = "answering";
    this.#plan = plan;
    this.#framed = head.framing.kind !== "close" && !plan.dechunk;
    const answer = bodyReader(head.framing);
    this.#answer = answer;
    if (plan.dechunk || from === bytes.length || answer.done) {
      this.#client.sendHead(ours, undefined);
      if (answer.done) this.#finishAnswer(from < bytes.length);
      else if (from < bytes.length) this.#pass(bytes, from);
      return;
    }
    const end = answer.read(bytes, from);
    if (!this.#client.sendHead(ours, bytes.subarray(from, end))) this.#upstream?.pause();
    if (answer.done) this.#finishAnswer(end < bytes.length);
  }

  #pass(bytes: Buffer, from: number): void {
    const answer = this.#answer;
    if (!answer) return;
    let end: number;
    if (this.#plan.dechunk) end = answer.read(bytes, from, (content) => this.#sendToClient(content));
    else {
      end = answer.read(bytes, from);
      this.#sendToClient(from === 0 && end === bytes.length ? bytes : bytes.subarray(from, end));
    }
    if (answer.done) this.#finishAnswer(end < bytes.length);
  }

  #sendToClient(bytes: Buffer): void {
    if (!this.#client.send(bytes)) this.#upstream?.pause();
  }

  /** `surplus`: the process sent more than it announced; such a connection is not used again. */
  #finishAnswer(surplus: boolean): void {
    if (surplus) this.#keepUpstream = false;
    this.#complete();
  }

  #complete(): void {
    const upstream = this.#upstream;
    this.#upstream = undefined;
    // A process that has answered and not read the whole body is left: what would follow is no new request.
    if (upstream && this.#keepUpstream && this.#body.done) upstream.release();
    else upstream?.destroy();
    this.#leave();
    this.#stage = "over";
    this.#client.finished(!this.#plan.close && this.#body.done);
  }

  #switch(text: string, head: ResponseHead, rest: Buffer): void {
    if (!this.#admission.upgrade) throw new WireError(502, "a switch of protocols that nobody asked for");
    const { ray, dressed } = this.#admission;
    this.#kept = undefined;
    this.#stage = "pipe";
    if (this.#backend) {
      this.#backend.requests--;
      this.#backend.webSockets++;
    }
    const stamp = dressed ? { ray, date: this.#works.date() } : undefined;
    const early = this.#client.becomePipe();
    const ours = switchingHead(text, head, stamp);
    if (!this.#client.sendHead(ours, rest.length > 0 ? rest : undefined)) this.#upstream?.pause();
    for (const bytes of early) this.receive(bytes);
  }

  /** Ends the exchange with `page`, or by cutting the answer off when it has begun. */
  #fail(page: Page): void {
    const begun = this.#stage === "answering" || this.#stage === "pipe";
    this.#abandon();
    if (begun) this.#client.cut(!this.#framed);
    else this.#client.refused(page, this.#body.done);
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
    if (this.#stage === "pipe") backend.webSockets--;
    else backend.requests--;
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

function nobodyPage({ destination }: Admission): Page {
  if (destination.kind === "host") return pages.noLongerThere();
  return pages.noSuchService(destination.name.slice(destination.name.indexOf("/") + 1));
}
