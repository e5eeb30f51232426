import { open, type FileHandle } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { systemCode } from "#core/errors.ts";
import type { BlobFolder } from "#products/r2/blob-folder.ts";
import { BlockSums } from "#products/r2/blob-sums.ts";
import { fileCipher } from "#products/r2/customer-key.ts";
import { Digests } from "#products/r2/digests.ts";
import { r2Errors } from "#products/r2/errors.ts";
import { slotBytes, slots, type HashPool } from "#products/r2/hash-pool.ts";
import { limits, type Checksums, type DigestAlgorithm } from "#products/r2/schema.ts";

/** A file that is on the disk, name and all. */
export type Blob = {
  file: string;
  size: number;
  /** CRC-32 of the table at its end. */
  crc: number;
};

/**
 * `check` sees the digests of all bytes before the file gets its name, and throws when they are not what they should be.
 * `key`: of a customer, to encrypt the file with; digests are always of the bytes as they came.
 */
export type BlobOptions = {
  digests: readonly DigestAlgorithm[];
  check: (found: Checksums) => void;
  key?: Buffer | undefined;
};

type Written = { size: number; checksums: Checksums; table: Uint8Array };

/**
 * Streams `body` into a file that survives power loss when this resolves. The caller ends it with `folder.settle`. On any
 * failure, a checksum that differs among them, nothing is left.
 */
export async function writeBlob(
  { folder, hashes }: { folder: BlobFolder; hashes: HashPool },
  body: AsyncIterable<Uint8Array>,
  options: BlobOptions,
): Promise<{ blob: Blob; checksums: Checksums }> {
  const file = folder.reserve();
  try {
    await using handle = await open(folder.temporaryPathOf(file), "wx", 0o600);
    const { key } = options;
    const written = key
      ? await writeEncrypted(handle, body, { ...options, file, key })
      : await writePlain(handle, body, hashes, options.digests);
    options.check(written.checksums);
    const { size, table, checksums } = written;
    await writeAll(handle, table);
    await handle.datasync();
    await folder.publish(file);
    return { blob: { file, size, crc: crc32(table) }, checksums };
  } catch (error) {
    folder.settle(file, false);
    throw systemCode(error) === "ENOSPC" ? r2Errors.storageFull(error) : error;
  }
}

/** Fills one slot of the hasher's memory while the ones before it are written and hashed. */
async function writePlain(
  handle: FileHandle,
  body: AsyncIterable<Uint8Array>,
  hashes: HashPool,
  digests: readonly DigestAlgorithm[],
): Promise<Written> {
  const hasher = hashes.hasher(digests);
  const memory = new Uint8Array(hasher.memory);
  const busy: Promise<unknown>[] = Array.from({ length: slots }, () => Promise.resolve());
  let written: Promise<void> = Promise.resolve();
  let [slot, filled, size] = [0, 0, 0];
  const send = () => {
    const [at, length, before] = [slot * slotBytes, filled, written];
    // Writes go one after another, since the file grows at its end; hashing goes on beside them.
    written = before.then(() => writeAll(handle, memory.subarray(at, at + length)));
    const done = Promise.all([written, hasher.update(at, length)]);
    done.catch(() => {}); // Thrown where it is awaited.
    busy[slot] = done;
    slot = (slot + 1) % slots;
    filled = 0;
  };
  try {
    for await (const piece of body) {
      size += piece.length;
      if (size > limits.uploadBytes) throw r2Errors.tooLarge();
      for (let at = 0; at < piece.length;) {
        if (filled === 0) await busy[slot];
        const count = Math.min(slotBytes - filled, piece.length - at);
        memory.set(piece.subarray(at, at + count), slot * slotBytes + filled);
        filled += count;
        at += count;
        if (filled === slotBytes) send();
      }
    }
    if (filled > 0) send();
    await Promise.all(busy);
    const { checksums, table } = await hasher.finish();
    return { size, checksums, table };
  } finally {
    // Nobody may use the memory anew before all that reads it is over.
    await Promise.allSettled(busy);
    hasher.release();
  }
}

/** Customers' keys are rare and their bytes are encrypted on the way, so all of it happens here, in small pieces. */
async function writeEncrypted(
  handle: FileHandle,
  body: AsyncIterable<Uint8Array>,
  { file, key, digests }: { file: string; key: Buffer; digests: readonly DigestAlgorithm[] },
): Promise<Written> {
  const cipher = fileCipher(key, file);
  const [running, sums] = [new Digests(digests), new BlockSums()];
  let size = 0;
  for await (const piece of body) {
    size += piece.length;
    if (size > limits.uploadBytes) throw r2Errors.tooLarge();
    running.update(piece);
    const sealed = cipher.update(piece);
    sums.update(sealed);
    await writeAll(handle, sealed);
  }
  return { size, checksums: running.finish(), table: sums.table() };
}

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += (await handle.write(bytes, at, bytes.length - at)).bytesWritten;
}
