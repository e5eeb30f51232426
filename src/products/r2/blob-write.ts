import { open, type FileHandle } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { systemCode } from "#core/errors.ts";
import type { BlobFolder } from "#products/r2/blob-folder.ts";
import { BlockSums, type Digests } from "#products/r2/blob-sums.ts";
import { r2Errors } from "#products/r2/errors.ts";
import { limits, type Checksums } from "#products/r2/schema.ts";

/** A file that is on the disk, name and all. */
export type Blob = {
  file: string;
  size: number;
  /** CRC-32 of the table at its end. */
  crc: number;
};

/** Bytes gathered for one write: a system call for each piece of a socket would cost more than copying them. */
const batchBytes = 256 * 1024;

/**
 * Streams `body` into a file that survives power loss when this resolves. The caller ends it with `folder.settle`. On any
 * failure, a checksum that differs among them, nothing is left.
 */
export async function writeBlob(
  folder: BlobFolder,
  body: AsyncIterable<Uint8Array>,
  digests: Digests,
): Promise<{ blob: Blob; checksums: Checksums }> {
  const file = folder.reserve();
  try {
    const written = await writeTemporary(folder.temporaryPathOf(file), body, digests);
    await folder.publish(file);
    return { blob: { file, size: written.size, crc: written.crc }, checksums: written.checksums };
  } catch (error) {
    folder.settle(file, false);
    throw systemCode(error) === "ENOSPC" ? r2Errors.storageFull(error) : error;
  }
}

async function writeTemporary(path: string, body: AsyncIterable<Uint8Array>, digests: Digests) {
  await using handle = await open(path, "wx", 0o600);
  const sums = new BlockSums();
  const size = await writeBytes(handle, body, (piece) => {
    digests.update(piece);
    sums.update(piece);
  });
  const checksums = digests.finish();
  const table = sums.table();
  await writeAll(handle, [table]);
  await handle.datasync();
  return { size, crc: crc32(table), checksums };
}

/** Writes one batch while the next one arrives. */
async function writeBytes(
  handle: FileHandle,
  body: AsyncIterable<Uint8Array>,
  onPiece: (piece: Uint8Array) => void,
): Promise<number> {
  let size = 0;
  let batch: Uint8Array[] = [];
  let gathered = 0;
  let writing: Promise<void> = Promise.resolve();
  try {
    for await (const piece of body) {
      size += piece.length;
      if (size > limits.uploadBytes) throw r2Errors.tooLarge();
      onPiece(piece);
      batch.push(piece);
      gathered += piece.length;
      if (gathered < batchBytes) continue;
      await writing;
      writing = writeAll(handle, batch);
      writing.catch(() => {}); // Thrown where it is awaited.
      batch = [];
      gathered = 0;
    }
  } finally {
    await writing;
  }
  await writeAll(handle, batch);
  return size;
}

async function writeAll(handle: FileHandle, pieces: Uint8Array[]): Promise<void> {
  let left = pieces;
  while (left.length > 0) {
    const { bytesWritten } = await handle.writev(left);
    left = after(left, bytesWritten);
  }
}

/** What is left of `pieces` after their first `count` bytes. */
function after(pieces: Uint8Array[], count: number): Uint8Array[] {
  let skip = count;
  for (const [at, piece] of pieces.entries()) {
    if (skip < piece.length) return [piece.subarray(skip), ...pieces.slice(at + 1)];
    skip -= piece.length;
  }
  return [];
}
