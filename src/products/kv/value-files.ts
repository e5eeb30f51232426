import { randomBytes } from "node:crypto";
import { mkdir, open, readdir, rename, rm, unlink, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { crc32 } from "node:zlib";
import { systemCode } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";
import { checkValueLength } from "#products/kv/checks.ts";
import { kvErrors } from "#products/kv/errors.ts";
import { limits } from "#products/kv/schema.ts";

/** A file as its row describes it: `blocks` is the CRC32 of each block, four bytes each. */
type ValueFile = { file: string; sizeBytes: number; blocks: Uint8Array };

/** A value on its way to disk. Nobody can see it before `finish`, nor ever when the process dies first. */
export interface ValueWriter {
  write(piece: Uint8Array): Promise<void>;
  /** The file, durable under its name. */
  finish(): Promise<ValueFile>;
  abort(): Promise<void>;
}

/** A file's bytes differ from those that were written, or are gone. */
export class DamagedFileError extends Error {
  override readonly name = "DamagedFileError";
}

/** Large values: immutable files with random names, `<2 hex>/<30 hex>` below one folder. */
export interface ValueFiles extends AsyncDisposable {
  create(): Promise<ValueWriter>;
  /** The value in checked blocks. Resolves when the first is read and sound; later damage ends the pieces with an error. */
  read(file: ValueFile): Promise<AsyncIterable<Buffer>>;
  /** Removes files that no row names any more, a little later: a reader that saw the row may be about to open one. */
  release(files: readonly string[]): void;
  /** Removes what a crash left: files from before this opening that `isNamed` denies. */
  sweep(isNamed: (file: string) => boolean, signal: AbortSignal): Promise<void>;
}

const log = createLogger("kv.files");
const shards = Array.from({ length: 256 }, (_, n) => n.toString(16).padStart(2, "0"));
const checksumBytes = 4;

/** Opens the folder, making it when it is missing. */
export async function openValueFiles(folder: string): Promise<ValueFiles> {
  const unfinished = join(folder, "tmp");
  await rm(unfinished, { recursive: true, force: true });
  for (const name of ["tmp", ...shards]) await mkdir(join(folder, name), { recursive: true });
  await syncFolder(folder);

  /** Files made since the opening, whose rows may not be committed yet; known until the sweep is over. */
  let young: Set<string> | undefined = new Set();
  const leaving = new Map<string, NodeJS.Timeout>();
  const remove = async (file: string) => {
    leaving.delete(file);
    await unlink(join(folder, file)).catch((error: unknown) => {
      if (systemCode(error) !== "ENOENT") log.warn("a file could not be removed", { file, error });
    });
  };

  return {
    async create() {
      const name = randomBytes(16).toString("hex");
      const file = `${name.slice(0, 2)}/${name.slice(2)}`;
      young?.add(file);
      const path = join(unfinished, name);
      return new Writer(await open(path, "wx", 0o600), path, async () => {
        await rename(path, join(folder, file));
        await syncFolder(join(folder, name.slice(0, 2)));
        return file;
      });
    },
    async read(file) {
      const path = join(folder, file.file);
      const handle = await openFile(path);
      try {
        const first = await readBlock(handle, file, 0);
        if (first.length < file.sizeBytes) return new Reading(handle, path, file, first);
        await handle.close();
        return onePiece(first);
      } catch (error) {
        await handle.close();
        throw error;
      }
    },
    release(files) {
      for (const file of files) {
        leaving.set(file, setTimeout(() => void remove(file), limits.fileGraceMs).unref());
      }
    },
    async sweep(isNamed, signal) {
      for (const shard of shards) {
        let looked = 0;
        for (const name of await readdir(join(folder, shard))) {
          if (signal.aborted) return;
          const file = `${shard}/${name}`;
          if (!young?.has(file) && !leaving.has(file) && !isNamed(file)) await remove(file);
          if (++looked % 100 === 0) await setImmediate();
        }
      }
      young = undefined;
    },
    async [Symbol.asyncDispose]() {
      for (const timer of leaving.values()) clearTimeout(timer);
      await Promise.all([...leaving.keys()].map(remove));
    },
  };
}

class Writer implements ValueWriter {
  readonly #handle: FileHandle;
  readonly #path: string;
  readonly #publish: () => Promise<string>;
  readonly #block = Buffer.allocUnsafeSlow(limits.blockBytes);
  #filled = 0;
  #size = 0;
  readonly #checksums: number[] = [];

  constructor(handle: FileHandle, path: string, publish: () => Promise<string>) {
    this.#handle = handle;
    this.#path = path;
    this.#publish = publish;
  }

  async write(piece: Uint8Array): Promise<void> {
    this.#size += piece.length;
    checkValueLength(this.#size);
    for (let at = 0; at < piece.length;) {
      const part = piece.subarray(at, at + this.#block.length - this.#filled);
      this.#block.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
      if (this.#filled === this.#block.length) await this.#flush();
    }
  }

  async finish(): Promise<ValueFile> {
    if (this.#filled > 0) await this.#flush();
    await this.#handle.datasync();
    await this.#handle.close();
    const blocks = Buffer.allocUnsafeSlow(this.#checksums.length * checksumBytes);
    this.#checksums.forEach((checksum, n) => blocks.writeUInt32LE(checksum, n * checksumBytes));
    return { file: await this.#publish(), sizeBytes: this.#size, blocks };
  }

  async abort(): Promise<void> {
    await this.#handle.close();
    await rm(this.#path, { force: true });
  }

  async #flush(): Promise<void> {
    const block = this.#block.subarray(0, this.#filled);
    this.#checksums.push(crc32(block));
    try {
      for (let at = 0; at < block.length;) at += (await this.#handle.write(block, at)).bytesWritten;
    } catch (error) {
      throw isFull(error) ? kvErrors.storageFull(error) : error;
    }
    this.#filled = 0;
  }
}

function isFull(error: unknown): boolean {
  return ["ENOSPC", "EDQUOT"].includes(systemCode(error) ?? "");
}

/** A file between its first block and whoever reads it. Its descriptor is given back even when nobody ever does. */
class Reading implements AsyncIterable<Buffer> {
  #handle: FileHandle | undefined;
  readonly #path: string;
  readonly #file: ValueFile;
  readonly #first: Buffer;
  readonly #idle: NodeJS.Timeout;

  constructor(handle: FileHandle, path: string, file: ValueFile, first: Buffer) {
    this.#handle = handle;
    this.#path = path;
    this.#file = file;
    this.#first = first;
    this.#idle = setTimeout(() => void this.#close(), limits.unreadMs).unref();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    clearTimeout(this.#idle);
    try {
      yield this.#first;
      this.#handle ??= await openFile(this.#path);
      for (let at = this.#first.length; at < this.#file.sizeBytes; at += limits.blockBytes)
        yield await readBlock(this.#handle, this.#file, at);
    } finally {
      await this.#close();
    }
  }

  async #close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close();
  }
}

async function* onePiece(piece: Buffer): AsyncGenerator<Buffer> {
  yield piece;
}

/** The block that begins at `at`, if it is what was written. */
async function readBlock(handle: FileHandle, { file, sizeBytes, blocks }: ValueFile, at: number): Promise<Buffer> {
  const block = Buffer.allocUnsafeSlow(Math.min(limits.blockBytes, sizeBytes - at));
  for (let have = 0; have < block.length;) {
    const { bytesRead } = await handle.read(block, have, block.length - have, at + have);
    if (bytesRead === 0) throw new DamagedFileError(`${file} ends at ${at + have} of ${sizeBytes} bytes`);
    have += bytesRead;
  }
  const wanted = new DataView(blocks.buffer, blocks.byteOffset).getUint32(
    (at / limits.blockBytes) * checksumBytes,
    true,
  );
  if (crc32(block) !== wanted) throw new DamagedFileError(`${file} differs in the block at ${at}`);
  return block;
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r");
  } catch (error) {
    throw systemCode(error) === "ENOENT" ? new DamagedFileError(`${path} is missing`, { cause: error }) : error;
  }
}

/** Names of a folder survive power loss only after this. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
