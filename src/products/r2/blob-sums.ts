import { createHash, hash, type Hash } from "node:crypto";
import { crc32 } from "node:zlib";
import { r2Errors } from "#products/r2/errors.ts";
import { checksumAlgorithms, type ChecksumAlgorithm, type Checksums } from "#products/r2/schema.ts";

/**
 * A file holds the bytes and then the CRC-32 of each block of them, four bytes each, little-endian. The row has the CRC-32 of
 * that table. So any range can be checked by reading whole blocks, and a file that was cut, mixed up or damaged is noticed.
 */
export const blockBytes = 64 * 1024;

/** Bytes of the table of a file with `size` bytes. */
export function tableBytes(size: number): number {
  return Math.ceil(size / blockBytes) * 4;
}

/** Makes the table of a file as its bytes pass. */
export class BlockSums {
  readonly #sums: number[] = [];
  #crc = 0;
  #filled = 0;

  update(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) {
      const count = Math.min(blockBytes - this.#filled, bytes.length - at);
      this.#crc = crc32(bytes.subarray(at, at + count), this.#crc);
      this.#filled += count;
      at += count;
      if (this.#filled === blockBytes) this.#endBlock();
    }
  }

  table(): Buffer {
    if (this.#filled > 0) this.#endBlock();
    const table = Buffer.alloc(this.#sums.length * 4);
    for (const [block, sum] of this.#sums.entries()) table.writeUInt32LE(sum, block * 4);
    return table;
  }

  #endBlock(): void {
    this.#sums.push(this.#crc);
    this.#crc = 0;
    this.#filled = 0;
  }
}

const names: Record<ChecksumAlgorithm, string> = {
  md5: "MD5",
  sha1: "SHA-1",
  sha256: "SHA-256",
  sha384: "SHA-384",
  sha512: "SHA-512",
};

/** Digests of bytes that pass: always the MD5, which is the entity tag, and whatever the uploader gave to compare with. */
export class Digests {
  readonly #given: Checksums;
  readonly #hashes: [ChecksumAlgorithm, Hash][];

  constructor(given: Checksums = {}) {
    this.#given = given;
    this.#hashes = checksumAlgorithms
      .filter((algorithm) => algorithm === "md5" || given[algorithm] !== undefined)
      .map((algorithm) => [algorithm, createHash(algorithm)]);
  }

  update(bytes: Uint8Array): void {
    for (const [, digest] of this.#hashes) digest.update(bytes);
  }

  /** Throws unless every checksum that was given is that of the bytes. */
  finish(): Checksums {
    const found: Checksums = {};
    for (const [algorithm, digest] of this.#hashes) found[algorithm] = digest.digest("hex");
    compare(this.#given, found);
    return found;
  }
}

/** The same for bytes that are all here; one call is cheaper than a stream of one piece. */
export function digestsOf(bytes: Uint8Array, given: Checksums = {}): Checksums {
  const found: Checksums = { md5: hash("md5", bytes) };
  for (const algorithm of checksumAlgorithms) {
    if (algorithm !== "md5" && given[algorithm] !== undefined) found[algorithm] = hash(algorithm, bytes);
  }
  compare(given, found);
  return found;
}

function compare(given: Checksums, found: Checksums): void {
  for (const algorithm of checksumAlgorithms) {
    const [wanted, actual] = [given[algorithm], found[algorithm]];
    if (wanted !== undefined && actual !== undefined && wanted !== actual) {
      throw r2Errors.digest(names[algorithm], wanted, actual);
    }
  }
}
