import { crc32 } from "node:zlib";
import type { CrcAlgorithm } from "#products/r2/schema.ts";

/** A running CRC; `digest` is its value in hexadecimal. */
export interface Crc {
  update(bytes: Uint8Array): void;
  digest(): string;
}

export function createCrc(algorithm: CrcAlgorithm): Crc {
  switch (algorithm) {
    case "crc32":
      return new Crc32();
    case "crc32c":
      return new Crc32c();
    case "crc64nvme":
      return new Crc64Nvme();
  }
}

class Crc32 implements Crc {
  #crc = 0;

  update(bytes: Uint8Array): void {
    this.#crc = crc32(bytes, this.#crc);
  }

  digest(): string {
    return hex(BigInt(this.#crc), 32);
  }
}

/** Polynomials with their bits reversed: RFC 1952 §8, RFC 3720 §12.1, NVM Express base specification §5.2.1.3.4. */
const polynomials: Record<CrcAlgorithm, { bits: number; polynomial: bigint }> = {
  crc32: { bits: 32, polynomial: 0xedb88320n },
  crc32c: { bits: 32, polynomial: 0x82f63b78n },
  crc64nvme: { bits: 64, polynomial: 0x9a6c9329ac4bc9b5n },
};

/** Bytes that one step of the tables below takes. */
const stride = 8;

/** `tables(...)[n * 256 + b]`: what byte `b` becomes after `n` further bytes of zero. */
function tables(algorithm: CrcAlgorithm): bigint[] {
  const { polynomial } = polynomials[algorithm];
  const table: bigint[] = [];
  for (let byte = 0n; byte < 256n; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ polynomial : crc >> 1n;
    table.push(crc);
  }
  for (let at = 256; at < stride * 256; at++) {
    const before = table[at - 256] ?? 0n;
    table.push((before >> 8n) ^ (table[Number(before & 0xffn)] ?? 0n));
  }
  return table;
}

let crc32cTables: Uint32Array | undefined;

class Crc32c implements Crc {
  readonly #t = (crc32cTables ??= Uint32Array.from(tables("crc32c"), Number));
  #crc = 0xffffffff;

  update(bytes: Uint8Array): void {
    const t = this.#t;
    let crc = this.#crc;
    let at = 0;
    for (; at + stride <= bytes.length; at += stride) {
      crc ^=
        byteAt(bytes, at) |
        (byteAt(bytes, at + 1) << 8) |
        (byteAt(bytes, at + 2) << 16) |
        (byteAt(bytes, at + 3) << 24);
      crc =
        cell(t, 7, crc & 0xff) ^
        cell(t, 6, (crc >>> 8) & 0xff) ^
        cell(t, 5, (crc >>> 16) & 0xff) ^
        cell(t, 4, crc >>> 24) ^
        cell(t, 3, byteAt(bytes, at + 4)) ^
        cell(t, 2, byteAt(bytes, at + 5)) ^
        cell(t, 1, byteAt(bytes, at + 6)) ^
        cell(t, 0, byteAt(bytes, at + 7));
    }
    for (; at < bytes.length; at++) crc = (crc >>> 8) ^ cell(t, 0, (crc ^ byteAt(bytes, at)) & 0xff);
    this.#crc = crc;
  }

  digest(): string {
    return hex(BigInt(~this.#crc >>> 0), 32);
  }
}

let crc64Tables: { low: Uint32Array; high: Uint32Array } | undefined;

/** In two halves: JavaScript computes with 32 bits at a time. */
class Crc64Nvme implements Crc {
  readonly #t = (crc64Tables ??= split(tables("crc64nvme")));
  #low = 0xffffffff;
  #high = 0xffffffff;

  update(bytes: Uint8Array): void {
    const { low: l, high: h } = this.#t;
    let [low, high] = [this.#low, this.#high];
    let at = 0;
    for (; at + stride <= bytes.length; at += stride) {
      low ^=
        byteAt(bytes, at) |
        (byteAt(bytes, at + 1) << 8) |
        (byteAt(bytes, at + 2) << 16) |
        (byteAt(bytes, at + 3) << 24);
      high ^=
        byteAt(bytes, at + 4) |
        (byteAt(bytes, at + 5) << 8) |
        (byteAt(bytes, at + 6) << 16) |
        (byteAt(bytes, at + 7) << 24);
      const [a, b, c, d] = [low & 0xff, (low >>> 8) & 0xff, (low >>> 16) & 0xff, low >>> 24];
      const [e, f, g, i] = [high & 0xff, (high >>> 8) & 0xff, (high >>> 16) & 0xff, high >>> 24];
      low =
        cell(l, 7, a) ^
        cell(l, 6, b) ^
        cell(l, 5, c) ^
        cell(l, 4, d) ^
        cell(l, 3, e) ^
        cell(l, 2, f) ^
        cell(l, 1, g) ^
        cell(l, 0, i);
      high =
        cell(h, 7, a) ^
        cell(h, 6, b) ^
        cell(h, 5, c) ^
        cell(h, 4, d) ^
        cell(h, 3, e) ^
        cell(h, 2, f) ^
        cell(h, 1, g) ^
        cell(h, 0, i);
    }
    for (; at < bytes.length; at++) {
      const index = (low ^ byteAt(bytes, at)) & 0xff;
      low = ((low >>> 8) | (high << 24)) ^ cell(l, 0, index);
      high = (high >>> 8) ^ cell(h, 0, index);
    }
    this.#low = low;
    this.#high = high;
  }

  digest(): string {
    return hex((BigInt(~this.#high >>> 0) << 32n) | BigInt(~this.#low >>> 0), 64);
  }
}

function split(table: bigint[]): { low: Uint32Array; high: Uint32Array } {
  return {
    low: Uint32Array.from(table, (crc) => Number(crc & 0xffffffffn)),
    high: Uint32Array.from(table, (crc) => Number(crc >> 32n)),
  };
}

function byteAt(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? 0;
}

function cell(table: Uint32Array, row: number, byte: number): number {
  return table[row * 256 + byte] ?? 0;
}

/** The CRC of bytes from the CRCs of their parts, in order: S3's full-object checksum of a multipart upload. */
export function combineCrcs(algorithm: CrcAlgorithm, parts: readonly { crc: string; size: number }[]): string {
  const { bits } = polynomials[algorithm];
  // Parts are of one size but the last, so there are two shifts at most.
  const shifts = new Map<number, bigint>();
  let combined = 0n;
  for (const { crc, size } of parts) {
    let shift = shifts.get(size);
    if (shift === undefined) shifts.set(size, (shift = powerOfX(algorithm, 8n * BigInt(size))));
    combined = multiply(algorithm, shift, combined) ^ BigInt(`0x${crc}`);
  }
  return hex(combined, bits);
}

/** x to the power of `n`, modulo the polynomial; the highest bit stands for 1, as everywhere in a reversed CRC. */
function powerOfX(algorithm: CrcAlgorithm, n: bigint): bigint {
  const one = 1n << BigInt(polynomials[algorithm].bits - 1);
  let [power, base] = [one, one >> 1n];
  for (let left = n; left > 0n; left >>= 1n) {
    if (left & 1n) power = multiply(algorithm, power, base);
    base = multiply(algorithm, base, base);
  }
  return power;
}

function multiply(algorithm: CrcAlgorithm, a: bigint, b: bigint): bigint {
  const { bits, polynomial } = polynomials[algorithm];
  let [product, factor] = [0n, b];
  for (let bit = 1n << BigInt(bits - 1); bit > 0n; bit >>= 1n) {
    if (a & bit) product ^= factor;
    factor = factor & 1n ? (factor >> 1n) ^ polynomial : factor >> 1n;
  }
  return product;
}

function hex(value: bigint, bits: number): string {
  return value.toString(16).padStart(bits / 4, "0");
}
