import { WireError, type Framing } from "#http/wire/head.ts";

/**
 * Follows a body through the bytes of a connection. For each piece of input it says how far the body reaches and which
 * parts of it are content, so that a proxy can pass bytes through untouched and a server can read what they carry.
 */
export interface BodyReader {
  readonly done: boolean;
  /**
   * Reads `bytes` from `from`. Content is handed to `onContent` as views of `bytes`. Returns the index just past what belongs
   * to the body; less than `bytes.length` only when the body ended there. Throws a WireError on broken chunking.
   */
  read(bytes: Buffer, from: number, onContent?: (content: Buffer) => void): number;
}

/** A reader for `framing`; one of kind `close` never ends by itself. */
export function bodyReader(framing: Framing): BodyReader {
  switch (framing.kind) {
    case "none":
      return new LengthReader(0);
    case "length":
      return new LengthReader(framing.length);
    case "close":
      return new LengthReader(Number.POSITIVE_INFINITY);
    case "chunked":
      return new ChunkedReader();
  }
}

class LengthReader implements BodyReader {
  #left: number;

  constructor(length: number) {
    this.#left = length;
  }

  get done(): boolean {
    return this.#left === 0;
  }

  read(bytes: Buffer, from: number, onContent?: (content: Buffer) => void): number {
    const count = Math.min(this.#left, bytes.length - from);
    if (count > 0) onContent?.(from === 0 && count === bytes.length ? bytes : bytes.subarray(from, from + count));
    this.#left -= count;
    return from + count;
  }
}

const chunkSizeDigitsMax = 8;
/** Bytes of a chunk-size line or of all trailers together; both are passed over, never used. */
const chunkLineMax = 256;
const trailersMax = 8192;

const CR = 13;
const LF = 10;
const SEMICOLON = 59;

type ChunkState =
  | "size"
  | "extension"
  | "size-lf"
  | "content"
  | "content-cr"
  | "content-lf"
  | "trailer-start"
  | "trailer"
  | "trailer-lf"
  | "end-lf"
  | "done";

/** RFC 9112 §7.1, without the leniencies: CRLF only, at most eight hex digits, short extensions. */
class ChunkedReader implements BodyReader {
  #state: ChunkState = "size";
  #size = 0;
  #digits = 0;
  #lineBytes = 0;
  #trailerBytes = 0;

  get done(): boolean {
    return this.#state === "done";
  }

  read(bytes: Buffer, from: number, onContent?: (content: Buffer) => void): number {
    let at = from;
    while (at < bytes.length && this.#state !== "done") {
      if (this.#state === "content") {
        const count = Math.min(this.#size, bytes.length - at);
        onContent?.(bytes.subarray(at, at + count));
        this.#size -= count;
        at += count;
        if (this.#size === 0) this.#state = "content-cr";
      } else {
        this.#step(bytes[at] ?? 0);
        at++;
      }
    }
    return at;
  }

  #step(byte: number): void {
    switch (this.#state) {
      case "size":
        return this.#sizeByte(byte);
      case "extension":
        if (++this.#lineBytes > chunkLineMax) throw new WireError(400, "chunk extension too long");
        if (byte === LF) throw new WireError(400, "bare LF in a chunk header");
        if (byte === CR) this.#state = "size-lf";
        return;
      case "size-lf":
        expect(byte, LF);
        this.#state = this.#size === 0 ? "trailer-start" : "content";
        return;
      case "content-cr":
        expect(byte, CR);
        this.#state = "content-lf";
        return;
      case "content-lf":
        expect(byte, LF);
        this.#state = "size";
        this.#digits = 0;
        this.#lineBytes = 0;
        return;
      case "trailer-start":
        this.#state = byte === CR ? "end-lf" : "trailer";
        if (byte === LF) throw new WireError(400, "bare LF in trailers");
        return;
      case "trailer":
        if (++this.#trailerBytes > trailersMax) throw new WireError(431, "trailers too large");
        if (byte === LF) throw new WireError(400, "bare LF in trailers");
        if (byte === CR) this.#state = "trailer-lf";
        return;
      case "trailer-lf":
        expect(byte, LF);
        this.#state = "trailer-start";
        return;
      case "end-lf":
        expect(byte, LF);
        this.#state = "done";
        return;
      case "content":
      case "done":
        throw new Error("not a step");
    }
  }

  #sizeByte(byte: number): void {
    const value = hexValue(byte);
    if (value >= 0) {
      if (++this.#digits > chunkSizeDigitsMax) throw new WireError(400, "chunk size too long");
      this.#size = this.#size * 16 + value;
      return;
    }
    if (this.#digits === 0) throw new WireError(400, "malformed chunk size");
    if (byte === CR) this.#state = "size-lf";
    else if (byte === SEMICOLON) this.#state = "extension";
    else throw new WireError(400, "malformed chunk size");
  }
}

function expect(byte: number, wanted: number): void {
  if (byte !== wanted) throw new WireError(400, "malformed chunk");
}

function hexValue(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  if (byte >= 97 && byte <= 102) return byte - 87;
  if (byte >= 65 && byte <= 70) return byte - 55;
  return -1;
}
