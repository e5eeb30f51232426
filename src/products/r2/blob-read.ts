import { closeSync, openSync, readSync } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { systemCode } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";
import type { BlobFolder } from "#products/r2/blob-folder.ts";
import { blockBytes, tableBytes } from "#products/r2/blob-sums.ts";
import type { Blob } from "#products/r2/blob-write.ts";
import { fileCipher } from "#products/r2/customer-key.ts";
import { r2Errors } from "#products/r2/errors.ts";
import type { ByteRange } from "#products/r2/schema.ts";

/** A file and where its bytes begin in the object. */
export type Extent = Blob & { start: number };

const log = createLogger("r2.blobs");

/** Bytes read at once: whole blocks. */
const readBytes = 4 * blockBytes;
/** At most so much is read without leaving the event loop: about 30 µs from the page cache. */
const syncBytes = 2 * blockBytes;
const syncTableBytes = 16 * 1024;

/** Where to read: files of the folder, and the key that a customer had them encrypted with. */
export type Source = { folder: BlobFolder; extents: readonly Extent[]; key: Buffer | undefined };

/** Bytes `range` of an object that lies in `extents`, when they are few and in one file; undefined when they need a stream. */
export function readAtOnce({ folder, extents, key }: Source, range: ByteRange): Buffer | undefined {
  const [extent] = extents;
  if (!extent || extents.length > 1) return undefined;
  const { from, to, first, end } = within(extent, range);
  if (end - first > syncBytes || tableBytes(extent.size) > syncTableBytes) return undefined;
  try {
    const descriptor = openSync(folder.pathOf(extent.file), "r");
    try {
      const length = tableBytes(extent.size);
      // The table follows the last block: what reaches to it is read together with it, as every small object is.
      const last = end === extent.size;
      const read = readAtSync(descriptor, first, end - first + (last ? length : 0));
      const sums = last ? read.subarray(end - first) : readAtSync(descriptor, extent.size, length);
      const bytes = checkedBlocks(extent, checkedTable(extent, sums), first, end, read.subarray(0, end - first));
      const wanted = bytes.subarray(from - first, to - first);
      return key ? fileCipher(key, extent.file, from).update(wanted) : wanted;
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    throw unreadable(extent, error);
  }
}

/** The same for any range, in pieces. Each piece was checked before it is handed on. */
export async function* readExtents(source: Source, range: ByteRange): AsyncGenerator<Buffer, void> {
  for (const extent of source.extents) {
    try {
      yield* readExtent(source, extent, range);
    } catch (error) {
      throw unreadable(extent, error);
    }
  }
}

async function* readExtent({ folder, key }: Source, extent: Extent, range: ByteRange): AsyncGenerator<Buffer, void> {
  const { from, to, first, end } = within(extent, range);
  await using handle = await open(folder.pathOf(extent.file));
  const table = checkedTable(extent, await readAt(handle, extent.size, tableBytes(extent.size)));
  const cipher = key && fileCipher(key, extent.file, from);
  const read = (at: number) => readAt(handle, at, Math.min(readBytes, end - at));
  let next = read(first);
  for (let at = first; at < end; at += readBytes) {
    const bytes = checkedBlocks(extent, table, at, Math.min(at + readBytes, end), await next);
    // Read ahead while this piece is on its way. Closing the file waits for a read that nobody takes any more.
    if (at + readBytes < end) {
      next = read(at + readBytes);
      next.catch(() => {});
    }
    const wanted = bytes.subarray(Math.max(0, from - at), Math.min(bytes.length, to - at));
    yield cipher ? cipher.update(wanted) : wanted;
  }
}

/** The part of `range` that lies in `extent`, by its own offsets, and the whole blocks around it. */
function within(extent: Extent, range: ByteRange): { from: number; to: number; first: number; end: number } {
  const from = Math.max(0, range.offset - extent.start);
  const to = Math.min(extent.size, range.offset + range.length - extent.start);
  const end = Math.min(extent.size, Math.ceil(to / blockBytes) * blockBytes);
  return { from, to, first: from - (from % blockBytes), end };
}

async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  // Neither zeroed, since it is overwritten, nor from the shared pool, which it would use up.
  const bytes = Buffer.allocUnsafeSlow(length);
  const { bytesRead } = await handle.read(bytes, 0, length, position);
  return bytes.subarray(0, bytesRead);
}

function readAtSync(descriptor: number, position: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(length);
  return bytes.subarray(0, readSync(descriptor, bytes, 0, length, position));
}

function checkedTable(extent: Extent, table: Buffer): Buffer {
  if (table.length !== tableBytes(extent.size) || crc32(table) !== extent.crc) throw corrupt(extent, extent.size);
  return table;
}

/** `bytes`, which should be the blocks from `at` to `end`, when each of them has its sum. */
function checkedBlocks(extent: Extent, table: Buffer, at: number, end: number, bytes: Buffer): Buffer {
  if (bytes.length !== end - at) throw corrupt(extent, at + bytes.length);
  for (let done = 0; done < bytes.length; done += blockBytes) {
    const block = bytes.subarray(done, done + blockBytes);
    if (crc32(block) !== table.readUInt32LE(((at + done) / blockBytes) * 4)) throw corrupt(extent, at + done);
  }
  return bytes;
}

function corrupt({ file, size }: Extent, position: number): Error {
  log.error("the bytes of a file are not those that were written", { file, size, position });
  return r2Errors.corrupt();
}

/** A file that has a row must be there and readable. */
function unreadable({ file }: Extent, error: unknown): unknown {
  const code = systemCode(error);
  if (code !== "ENOENT" && code !== "EIO") return error;
  log.error("a file of an object cannot be read", { file, error });
  return r2Errors.corrupt();
}
