import { logLimits, type LogDetail } from "#products/logs/schema.ts";

/** What the outbox needs of its surroundings. */
export type Post = {
  /** Hands a batch over; the detail that is wanted from now on, or undefined when nobody took the batch. */
  send(batch: string): Promise<LogDetail | undefined>;
  /** Goes on with `work` when the request under way is answered; throws outside of any request. */
  background(work: () => Promise<void>): void;
  sleep(ms: number): Promise<void>;
  now(): number;
};

/** A loop that was not heard of for so long went away with its request: another one may start. */
const loopLostMs = 4 * logLimits.batchMs + logLimits.sendMs;

/** How long nothing is sent after a batch that nobody took: workerd writes a line to its own log for every attempt. */
const pauseMs = 1000;

/**
 * Events on their way out of a process: a bounded queue that is emptied in batches, always behind the responses. It can only
 * work while some request is under way, since workerd allows neither timers nor I/O outside of one.
 */
export class Outbox {
  /** Everything, until somebody said that it is not wanted. */
  detail: LogDetail = "full";
  readonly #post: Post;
  /** Asked in every round of the loop; events that were waiting may be added, and true keeps the loop going. */
  readonly #round: () => boolean;
  #queue: string[] = [];
  #bytes = 0;
  #unlisted = 0;
  #dropped = 0;
  #quiet = 0;
  #sending = false;
  #loopSeenAt = 0;
  #looping = false;
  #pausedUntil = 0;
  /** How often `listen` was called. */
  #calls = 0;

  constructor(post: Post, round: () => boolean = () => false) {
    this.#post = post;
    this.#round = round;
  }

  get waiting(): number {
    return this.#queue.length;
  }

  /** Adds an event (JSON text). */
  add(event: string): void {
    if (this.#bytes + event.length > logLimits.queueBytes) {
      this.#dropped++;
    } else {
      this.#queue.push(event);
      this.#bytes += event.length;
    }
    const full = this.#bytes >= logLimits.batchBytes && !this.#sending && this.#post.now() >= this.#pausedUntil;
    if (full) this.#inBackground(async () => this.flush());
    else this.wake();
  }

  /** Whether an invocation without anything to tell is listed, or only counted. */
  takesQuiet(): boolean {
    if (this.detail === "full" || this.#quiet < logLimits.quietPerBatch) {
      this.#quiet++;
      return true;
    }
    this.#unlisted++;
    return false;
  }

  /** Somebody listens from now on: what an answer that is on its way says about that is old. */
  listen(): void {
    this.detail = "full";
    this.#calls++;
  }

  /** Sees to it that the queue is emptied soon. */
  wake(): void {
    const now = this.#post.now();
    if (now < this.#pausedUntil) return;
    if (this.#looping && now - this.#loopSeenAt < loopLostMs) return;
    this.#looping = true;
    this.#loopSeenAt = now;
    if (!this.#inBackground(async () => this.#loop())) this.#looping = false;
  }

  /** Sends what is there now. */
  async flush(): Promise<void> {
    if (this.#queue.length === 0 && this.#dropped === 0 && this.#unlisted === 0) return;
    const { events, head, dropped } = this.#take();
    const calls = this.#calls;
    this.#sending = true;
    try {
      const detail = await this.#post.send(`${head}${events.join(",")}]}`);
      if (calls === this.#calls) this.detail = detail ?? "quiet";
      if (detail === undefined) {
        this.#dropped += dropped + events.length;
        this.#pausedUntil = this.#post.now() + pauseMs;
      }
    } finally {
      this.#sending = false;
    }
  }

  async #loop(): Promise<void> {
    do {
      await this.#post.sleep(logLimits.batchMs);
      this.#loopSeenAt = this.#post.now();
      const more = this.#round();
      await this.flush();
      if ((!more && this.#queue.length === 0) || this.#post.now() < this.#pausedUntil) break;
      // oxlint-disable-next-line no-constant-condition
    } while (true);
    this.#looping = false;
  }

  #take(): { events: string[]; head: string; dropped: number } {
    const events = this.#queue;
    const dropped = this.#dropped;
    const head = `{"unlisted":${this.#unlisted},"dropped":${dropped},"events":[`;
    this.#queue = [];
    this.#bytes = 0;
    this.#unlisted = 0;
    this.#dropped = 0;
    this.#quiet = 0;
    return { events, head, dropped };
  }

  #inBackground(work: () => Promise<void>): boolean {
    try {
      this.#post.background(work);
      return true;
    } catch {
      return false;
    }
  }
}
