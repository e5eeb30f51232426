import { WireError } from "#http/wire/head.ts";

/**
 * Cap'n Proto messages as they stand on a connection (https://capnproto.org/encoding.html): only what is needed to find a few
 * numbers in them. A message that is not what its sender's library writes is refused, and the connection with it.
 */
export class Message {
  readonly bytes: Buffer;
  /** Where each segment begins and ends in `bytes`. */
  readonly #segments: readonly { start: number; end: number }[];

  constructor(bytes: Buffer) {
    this.bytes = bytes;
    const count = bytes.readUInt32LE(0) + 1;
    const segments: { start: number; end: number }[] = [];
    let start = headBytes(count);
    for (let index = 0; index < count; index++) {
      const end = start + bytes.readUInt32LE(4 + index * 4) * wordBytes;
      segments.push({ start, end });
      start = end;
    }
    this.#segments = segments;
  }

  get root(): Struct | undefined {
    return this.#structAt(this.#segments[0]?.start ?? 0, 0);
  }

  /** What pointer `index` of `struct` points to. */
  struct(struct: Struct | undefined, index: number): Struct | undefined {
    if (!struct || index >= struct.pointers) return undefined;
    return this.#structAt(struct.pointersAt + index * wordBytes, struct.segment);
  }

  /** The elements of the list of structs that pointer `index` of `struct` points to. */
  structs(struct: Struct | undefined, index: number): Struct[] {
    if (!struct || index >= struct.pointers) return [];
    const found = this.#pointee(struct.pointersAt + index * wordBytes, struct.segment);
    if (!found) return [];
    if (found.kind !== list) throw malformed("a list was expected");
    // C++ writes an empty list of structs with any element size.
    if ((found.high & 7) !== composite) {
      if (found.high >>> 3 === 0) return [];
      throw malformed("a list of structs was expected");
    }
    const { segment, at } = found;
    const words = found.high >>> 3;
    this.#check(segment, at, words + 1);
    const count = this.bytes.readInt32LE(at) >> 2;
    const sizes = this.bytes.readUInt32LE(at + 4);
    const dataBytes = (sizes & 0xffff) * wordBytes;
    const pointers = sizes >>> 16;
    const size = dataBytes + pointers * wordBytes;
    if (count < 0 || count * size > words * wordBytes || count > elementsMax) throw malformed("a list of a wrong size");
    return Array.from({ length: count }, (_, index2) => {
      const data = at + wordBytes + index2 * size;
      return { segment, data, dataBytes, pointersAt: data + dataBytes, pointers };
    });
  }

  /** A number of a struct; what lies past its end is 0. */
  uint32(struct: Struct | undefined, offset: number): number {
    return struct && offset + 4 <= struct.dataBytes ? this.bytes.readUInt32LE(struct.data + offset) : 0;
  }

  uint16(struct: Struct | undefined, offset: number): number {
    return struct && offset + 2 <= struct.dataBytes ? this.bytes.readUInt16LE(struct.data + offset) : 0;
  }

  #structAt(pointer: number, segment: number): Struct | undefined {
    const found = this.#pointee(pointer, segment);
    if (!found) return undefined;
    if (found.kind !== struct) throw malformed("a struct was expected");
    const dataBytes = (found.high & 0xffff) * wordBytes;
    const pointers = found.high >>> 16;
    this.#check(found.segment, found.at, dataBytes / wordBytes + pointers);
    return { segment: found.segment, data: found.at, dataBytes, pointersAt: found.at + dataBytes, pointers };
  }

  #pointee(pointer: number, segment: number): Pointee | undefined {
    this.#check(segment, pointer, 1);
    const low = this.bytes.readUInt32LE(pointer);
    const high = this.bytes.readUInt32LE(pointer + 4);
    if (low === 0 && high === 0) return undefined;
    const kind = low & 3;
    if (kind !== far) return { kind, high, segment, at: pointer + wordBytes + ((low | 0) >> 2) * wordBytes };
    const pad = this.#padAt(high, low >>> 3);
    if ((low & 4) === 0) {
      if ((this.bytes.readUInt32LE(pad) & 3) === far) throw malformed("a far pointer to another");
      return this.#pointee(pad, high);
    }
    this.#check(high, pad, 2);
    const padLow = this.bytes.readUInt32LE(pad);
    const padHigh = this.bytes.readUInt32LE(pad + 4);
    if ((padLow & 7) !== far) throw malformed("a landing pad without its far pointer");
    const tagLow = this.bytes.readUInt32LE(pad + 8);
    const tagHigh = this.bytes.readUInt32LE(pad + 12);
    return { kind: tagLow & 3, high: tagHigh, segment: padHigh, at: this.#padAt(padHigh, padLow >>> 3) };
  }

  #padAt(segment: number, words: number): number {
    const found = this.#segments[segment];
    if (!found) throw malformed("a pointer to a segment that is not there");
    return found.start + words * wordBytes;
  }

  #check(segment: number, at: number, words: number): void {
    const found = this.#segments[segment];
    if (!found || at < found.start || at + words * wordBytes > found.end) throw malformed("a pointer out of bounds");
  }
}

export type Struct = { segment: number; data: number; dataBytes: number; pointersAt: number; pointers: number };
type Pointee = { kind: number; high: number; segment: number; at: number };

const wordBytes = 8;
/** Kinds of pointers, and the element size of a list of structs. */
const struct = 0;
const list = 1;
const far = 2;
const composite = 7;

/** Capabilities in one message. */
const elementsMax = 4096;
/** As many as Cap'n Proto's own reader takes. */
const segmentsMax = 512;

/** The peer broke the protocol. */
export function malformed(what: string): WireError {
  return new WireError(400, `not Cap'n Proto: ${what}`);
}

function headBytes(segments: number): number {
  return ((segments >> 1) + 1) * wordBytes;
}

/** Cuts a stream of bytes into messages. */
export class Frames {
  readonly #maxBytes: number;
  #pieces: Buffer[] = [];
  #have = 0;
  /** Bytes that are needed to go on: of a head, then of the whole message. */
  #need = wordBytes;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The messages that `bytes` completes. Each has a buffer of its own only when it came in several pieces. */
  take(bytes: Buffer): Buffer[] {
    this.#pieces.push(bytes);
    this.#have += bytes.length;
    const whole: Buffer[] = [];
    while (this.#have >= this.#need) {
      const all = this.#pieces.length === 1 ? (this.#pieces[0] ?? bytes) : Buffer.concat(this.#pieces, this.#have);
      const size = this.#sizeOf(all);
      const rest = size <= all.length ? all.subarray(size) : all;
      if (size <= all.length) whole.push(all.subarray(0, size));
      this.#need = size <= all.length ? wordBytes : size;
      this.#pieces = rest.length > 0 ? [rest] : [];
      this.#have = rest.length;
    }
    return whole;
  }

  /** Size of the message that begins here, or of as much of it as says that. */
  #sizeOf(bytes: Buffer): number {
    const segments = bytes.readUInt32LE(0) + 1;
    if (segments > segmentsMax) throw malformed("a message of too many segments");
    const head = headBytes(segments);
    if (bytes.length < head) return head;
    let size = head;
    for (let index = 0; index < segments; index++) size += bytes.readUInt32LE(4 + index * 4) * wordBytes;
    if (size > this.#maxBytes) throw malformed("a message that is too large");
    return size;
  }
}
