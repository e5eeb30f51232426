import { logLimits, type ExecutionModel, type LogLevel, type LogOutcome } from "#products/logs/schema.ts";
import { exceptionOf, formatErrors, formatMessage } from "#runtime/entry/format-message.ts";
import { Outbox, type Post } from "#runtime/entry/outbox.ts";
import { triggerOf } from "#runtime/entry/trigger.ts";

/** One run of one handler: everything that is written down while it is under way. Made for every request, so kept small. */
export class Invocation {
  readonly entrypoint: string;
  startedAt: number;
  /** The handler or RPC method that runs. */
  handler: string;
  /** Its first argument. */
  subject: unknown;
  /** The instance it runs on, for a class: calls that it makes on itself are no invocations of their own. */
  instance: object | undefined = undefined;
  readonly executionModel: ExecutionModel | undefined;
  status: number | undefined = undefined;
  outcome: LogOutcome = "ok";
  wallTime = 0;
  done = false;
  sent = false;
  /** `waitUntil` promises that are not settled. */
  open = 0;
  id: string | undefined = undefined;
  /** JSON texts. */
  logs: string[] | undefined = undefined;
  exceptions: string[] | undefined = undefined;
  bytes = 0;
  truncated = false;

  constructor(
    entrypoint: string,
    handler: string,
    subject: unknown,
    startedAt: number,
    executionModel?: ExecutionModel,
  ) {
    this.executionModel = executionModel;
    this.entrypoint = entrypoint;
    this.handler = handler;
    this.subject = subject;
    this.startedAt = startedAt;
  }
}

const { stringify } = JSON;

/** Writes down what happens in a process and hands it to the outbox. */
export class Recorder {
  /** Handlers that have not settled. */
  inFlight = 0;
  /** `waitUntil` promises of all invocations that have not settled. */
  openWork = 0;
  readonly outbox: Outbox;
  readonly #now: () => number;
  /** Lines from before the first invocation; undefined once they were handed over. */
  #startup: Invocation | undefined;
  readonly #startupLines: ((at: number) => string)[] = [];
  /** Done, but still with open work: told in one piece when that ends soon. */
  readonly #held = new Set<Invocation>();
  #prefix = "";
  #count = 0;

  constructor(post: Post) {
    this.outbox = new Outbox(post, () => this.#tellHeld());
    this.#now = () => post.now();
    this.#startup = new Invocation("", "", undefined, post.now());
  }

  begin(entrypoint: string, handler: string, subject: unknown, executionModel?: ExecutionModel): Invocation {
    if (this.#startup) this.#tellStartup();
    return new Invocation(entrypoint, handler, subject, this.#now(), executionModel);
  }

  /** A `console` call. `invocation` is undefined outside of any. */
  log(invocation: Invocation | undefined, level: LogLevel, args: readonly unknown[]): void {
    const to = invocation ?? this.#startup ?? this.#nobody();
    if (to.truncated) return;
    const room = logLimits.invocationBytes - to.bytes;
    const message = formatMessage(args, room);
    const errors = formatErrors(args);
    const more = errors === undefined ? "" : `,"errorInfo":${errors}`;
    const line = (at: number) => `{"level":"${level}","message":${message},"timestamp":${at}${more}}`;
    to.bytes += message.length + more.length;
    // While modules are evaluated workerd's clock stands at 0.
    if (to === this.#startup) this.#startupLines.push(line);
    else (to.logs ??= []).push(line(this.#now()));
    if (to.bytes >= logLimits.invocationBytes) this.#truncate(to);
    this.#afterwards(to);
  }

  /** Something was thrown that nobody caught. */
  exception(invocation: Invocation | undefined, thrown: unknown): void {
    const to = invocation ?? this.#startup ?? this.#nobody();
    if (to.bytes >= logLimits.invocationBytes * 2) return;
    const text = stringify(exceptionOf(thrown, this.#now()));
    to.bytes += text.length;
    (to.exceptions ??= []).push(text);
    this.#afterwards(to);
  }

  /** The handler is done. */
  settled(invocation: Invocation): void {
    invocation.done = true;
    invocation.wallTime = this.#now() - invocation.startedAt;
    if (invocation.open > 0) {
      this.#held.add(invocation);
      this.outbox.wake();
    } else this.#tell(invocation);
  }

  /** The client left before the handler was done. What that still does comes as late lines. */
  canceled(invocation: Invocation): void {
    if (invocation.done) return;
    this.inFlight--;
    invocation.outcome = "canceled";
    this.settled(invocation);
  }

  /** Counts one `waitUntil` of an invocation; to be told by `closed` when it settles. */
  opened(invocation: Invocation | undefined): void {
    this.openWork++;
    if (invocation) invocation.open++;
  }

  closed(invocation: Invocation | undefined): void {
    this.openWork--;
    if (!invocation) return;
    invocation.open--;
    if (invocation.open === 0 && this.#held.delete(invocation)) this.#tell(invocation);
  }

  /** Hands over what was held long enough; whether more is held. */
  #tellHeld(): boolean {
    const latest = this.#now() - logLimits.holdMs;
    for (const invocation of this.#held) {
      if (invocation.startedAt + invocation.wallTime > latest) continue;
      this.#held.delete(invocation);
      this.#tell(invocation);
    }
    return this.#held.size > 0;
  }

  #tell(invocation: Invocation): void {
    invocation.sent = true;
    const plain = !invocation.logs && !invocation.exceptions && invocation.outcome === "ok";
    if (plain && !this.outbox.takesQuiet()) return;
    this.#addWhole(invocation);
  }

  /** Lines of an invocation that was told already go out by themselves, and so do those that belong to none. */
  #afterwards(to: Invocation): void {
    if (!to.sent) return;
    // One that had nothing to tell until now was only counted: it is told after all.
    if (to.id === undefined && to.entrypoint !== "") this.#addWhole(to);
    else this.#add(to, '"part":"late","event":null');
  }

  #addWhole(invocation: Invocation): void {
    const { handler, subject, status } = invocation;
    this.#add(invocation, `"event":${stringify(triggerOf(handler, subject, status, this.outbox.detail))}`);
    // What comes later needs the id only: the request and all it holds may go.
    invocation.subject = undefined;
  }

  #tellStartup(): void {
    const startup = this.#startup;
    const now = this.#now();
    this.#startup = undefined;
    this.#prefix = `${now.toString(36)}${Math.random().toString(36).slice(2, 8)}-`;
    if (!startup || (this.#startupLines.length === 0 && !startup.exceptions)) return;
    startup.startedAt = now;
    startup.logs = this.#startupLines.splice(0).map((line) => line(now));
    this.#add(startup, '"part":"startup","event":null');
  }

  #add(invocation: Invocation, members: string): void {
    const { entrypoint, executionModel, outcome, startedAt, wallTime, logs, exceptions, truncated } = invocation;
    const nobody = entrypoint === "";
    if (!nobody) invocation.id ??= `${this.#prefix}${++this.#count}`;
    const model = executionModel === undefined ? "" : `"executionModel":"${executionModel}",`;
    const more = `${nobody ? "" : `"entrypoint":${stringify(entrypoint)},`}${model}${truncated ? '"truncated":true,' : ""}`;
    this.outbox.add(
      `{"id":${nobody ? "null" : `"${invocation.id}"`},${more}"outcome":"${outcome}","eventTimestamp":${startedAt},"wallTime":${wallTime},` +
        `${members},"logs":[${logs?.join(",") ?? ""}],"exceptions":[${exceptions?.join(",") ?? ""}]}`,
    );
    invocation.logs = undefined;
    invocation.exceptions = undefined;
  }

  #nobody(): Invocation {
    const nobody = new Invocation("", "", undefined, this.#now());
    nobody.sent = true;
    return nobody;
  }

  #truncate(to: Invocation): void {
    to.truncated = true;
    const text = `Log lines past ${logLimits.invocationBytes} bytes of one invocation are left out.`;
    (to.logs ??= []).push(`{"level":"warn","message":[${stringify(text)}],"timestamp":${this.#now()}}`);
  }
}

/** `AsyncLocalStorage` as far as it is used. */
export type Storage = {
  run<A extends unknown[], R>(store: Invocation | undefined, callback: (...args: A) => R, ...args: A): R;
  getStore(): Invocation | undefined;
};
