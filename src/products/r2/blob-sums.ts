import { crc32 } from "node:zlib";

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
