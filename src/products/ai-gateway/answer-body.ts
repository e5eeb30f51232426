import { limits } from "#products/ai-gateway/schema.ts";

/** Whoever fills an answer's body. */
export interface BodySource {
  pause(): void;
  resume(): void;
  /** Nobody reads any more. */
  cancel(): void;
}

/**
 * The body of an answer on its way: one writes, any number reads, each from the first piece to the last. With `keep` pieces stay
 * for readers who come later, until that is turned off; otherwise they are let go when everybody has read them. The slower
 * readers hold nobody back but the bytes they have not read; the fastest one holds back the writer.
 */
export class AnswerBody {
  #pieces: Buffer[] = [];
  /** Number of the first piece that is still here. */
  #base = 0;
  #bytes = 0;
  #unread = 0;
  #ended = false;
  #error: Error | undefined;
  #paused = false;
  #keep: boolean;
  readonly #readers = new Set<Reader>();
  readonly #source: BodySource;

  constructor(options: { source: BodySource; keep: boolean }) {
    this.#source = options.source;
    this.#keep = options.keep;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Whether a new reader would see all of it. */
  get isWhole(): boolean {
    return this.#base === 0;
  }

  push(piece: Buffer): void {
    if (this.#ended || piece.length === 0) return;
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    this.#unread += piece.length;
    if (this.#unread > limits.unreadBytes && !this.#paused) {
      this.#paused = true;
      this.#source.pause();
    }
    this.#wakeAll();
  }

  end(): void {
    this.#ended = true;
    this.#wakeAll();
  }

  /** What readers get after the pieces that came: never a clean end. */
  fail(error: Error): void {
    if (this.#ended) return;
    this.#error = error;
    this.end();
  }

  /** Readers who come later are not served any more; all that was read is let go. */
  stopKeeping(): void {
    this.#keep = false;
    this.#letGo();
  }

  /** All pieces; only while `isWhole`. */
  whole(): Buffer {
    return Buffer.concat(this.#pieces, this.#bytes);
  }

  /** Lengths of the pieces, to send them again as they came. */
  lengths(): number[] {
    return this.#pieces.map(({ length }) => length);
  }

  /** A reader from the first piece on. It leaves when it is done, when its loop ends, or when `signal` aborts. */
  read(signal: AbortSignal): AsyncIterable<Buffer> {
    const reader: Reader = { at: 0, left: false, wake: undefined };
    this.#readers.add(reader);
    const leave = () => this.#leave(reader);
    signal.addEventListener("abort", leave, { once: true });
    if (signal.aborted) leave();
    return {
      [Symbol.asyncIterator]: () => ({
        next: async () => this.#next(reader),
        return: async () => {
          signal.removeEventListener("abort", leave);
          leave();
          return { done: true, value: undefined };
        },
      }),
    };
  }

  async #next(reader: Reader): Promise<IteratorResult<Buffer, undefined>> {
    for (;;) {
      if (reader.left) throw new Error("the reader has left");
      const piece = this.#pieces[reader.at - this.#base];
      if (piece) {
        reader.at++;
        this.#taken(reader, piece);
        return { done: false, value: piece };
      }
      if (this.#ended) {
        this.#leave(reader);
        if (this.#error) throw this.#error;
        return { done: true, value: undefined };
      }
      await new Promise<void>((resolve) => {
        reader.wake = resolve;
      });
      reader.wake = undefined;
    }
  }

  #taken(reader: Reader, piece: Buffer): void {
    // Only the foremost reader shortens what the writer is ahead.
    if (this.#readers.size === 1 || [...this.#readers].every(({ at }) => at <= reader.at)) this.#unread -= piece.length;
    if (this.#paused && this.#unread <= limits.unreadBytes / 2) {
      this.#paused = false;
      this.#source.resume();
    }
    this.#letGo();
  }

  #letGo(): void {
    if (this.#keep) return;
    const slowest = Math.min(...[...this.#readers].map(({ at }) => at));
    const count = this.#readers.size === 0 ? this.#pieces.length : slowest - this.#base;
    if (count <= 0) return;
    this.#pieces.splice(0, count);
    this.#base += count;
  }

  #leave(reader: Reader): void {
    if (reader.left) return;
    reader.left = true;
    reader.wake?.();
    this.#readers.delete(reader);
    if (this.#readers.size === 0 && !this.#ended) this.#source.cancel();
    else this.#letGo();
  }

  #wakeAll(): void {
    for (const { wake } of this.#readers) wake?.();
  }
}

type Reader = { at: number; left: boolean; wake: (() => void) | undefined };
