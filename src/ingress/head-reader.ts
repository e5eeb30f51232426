import { headEnd, WireError } from "#http/wire/head.ts";

const CR = 13;
const LF = 10;
const firstCarryBytes = 4096;

/**
 * Finds the end of a head in bytes that come in any pieces. A head that comes whole is never copied; of one that comes in
 * crumbs every byte is copied and looked at a bounded number of times.
 */
export class HeadReader {
  /** The head as Latin-1 text, once `take` found its end. */
  text = "";
  readonly #bytesMax: number;
  #carry: Buffer | undefined;
  #length = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Whether a head has begun and not ended. */
  get begun(): boolean {
    return this.#length > 0;
  }

  /** What came of a head that has not ended. */
  get sofar(): Buffer {
    return this.#carry?.subarray(0, this.#length) ?? Buffer.alloc(0);
  }

  /** Index in `bytes` just past the head's end, or -1 when it ends later. Throws a WireError 431 past the limit. */
  take(bytes: Buffer, from = 0): number {
    if (this.#length === 0) {
      const end = headEnd(bytes, from);
      if (end >= 0) {
        if (end - from > this.#bytesMax) throw new WireError(431, "head too large");
        this.text = bytes.toString("latin1", from, end);
        return end;
      }
    }
    const before = this.#length;
    this.#append(bytes, from);
    const carry = this.#carry ?? bytes;
    const end = headEnd(carry.subarray(0, this.#length), Math.max(0, before - 3));
    if (end < 0) {
      if (this.#length > this.#bytesMax) throw new WireError(431, "head too large");
      refuseBareLineFeeds(carry, before, this.#length);
      return -1;
    }
    if (end > this.#bytesMax) throw new WireError(431, "head too large");
    this.text = carry.toString("latin1", 0, end);
    this.#carry = undefined;
    this.#length = 0;
    return from + end - before;
  }

  #append(bytes: Buffer, from: number): void {
    const wanted = this.#length + bytes.length - from;
    if (!this.#carry || this.#carry.length < wanted) {
      const larger = Buffer.allocUnsafe(Math.max(wanted, firstCarryBytes, (this.#carry?.length ?? 0) * 2));
      this.#carry?.copy(larger, 0, 0, this.#length);
      this.#carry = larger;
    }
    bytes.copy(this.#carry, this.#length, from);
    this.#length = wanted;
  }
}

/** A head whose lines end in LF alone would never end for us; without this its sender waits for the time limit. */
function refuseBareLineFeeds(bytes: Buffer, from: number, to: number): void {
  for (let at = bytes.indexOf(LF, from); at >= 0 && at < to; at = bytes.indexOf(LF, at + 1))
    if (at === 0 || bytes[at - 1] !== CR) throw new WireError(400, "bare LF in a head");
}
