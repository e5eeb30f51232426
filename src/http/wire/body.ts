import { WireError, type Framing } from "#http/wire/head.ts";

/**
 * Follows a body through the bytes of a connection. For each piece of input it says how far the body reaches and which
 * parts of it are content, so that a proxy can pass bytes through untouched and a server can read what they carry.
 */
export interface BodyReader {
  readonly done: boolean;
  /** Bytes of content read so far, framing not counted. */
  readonly contentBytes: number;
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
  contentBytes = 0;
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
    this.contentBytes += count;
    return from + count;
  }
}

const chunkSizeDigitsMax = 8;
/** Bytes of all trailers together. */
const trailersMax = 8192;

const CR = 13;
const LF = 10;
const COLON = 58;

type ChunkState =
  | "size"
  | "size-lf"
  | "content"
  | "content-cr"
  | "content-lf"
  | "trailer-start"
  | "trailer-name"
  | "trailer-value"
  | "trailer-lf"
  | "end-lf"
  | "done";

/**
 * RFC 9112 §7.1, without the leniencies: CRLF only, at most eight hex digits, trailers by the grammar of header fields. Chunk
 * extensions are refused: no client sends them, and parsers that disagree about them are a known way to smuggle requests.
 */
class ChunkedReader implements BodyReader {
  contentBytes = 0;
  #state: ChunkState = "size";
  #size = 0;
  #digits = 0;
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
        this.contentBytes += count;
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
        return;
      case "trailer-start":
        if (byte === CR) this.#state = "end-lf";
        else if (isTokenByte(byte)) this.#state = "trailer-name";
        else throw new WireError(400, "malformed trailer");
        return;
      case "trailer-name":
      case "trailer-value":
      case "trailer-lf":
        return this.#trailerByte(byte);
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
    if (this.#digits === 0 || byte !== CR) throw new WireError(400, "malformed chunk size");
    this.#state = "size-lf";
  }

  #trailerByte(byte: number): void {
    if (++this.#trailerBytes > trailersMax) throw new WireError(431, "trailers too large");
    if (this.#state === "trailer-lf") {
      expect(byte, LF);
      this.#state = "trailer-start";
    } else if (this.#state === "trailer-name") {
      if (byte === COLON) this.#state = "trailer-value";
      else if (!isTokenByte(byte)) throw new WireError(400, "malformed trailer");
    } else if (byte === CR) this.#state = "trailer-lf";
    else if ((byte < 32 && byte !== 9) || byte === 127) throw new WireError(400, "control character in a trailer");
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

const tokenBytes = new Set(
  Buffer.from("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"),
);

function isTokenByte(byte: number): boolean {
  return tokenBytes.has(byte);
}
