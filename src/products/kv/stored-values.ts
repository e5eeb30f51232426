import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { createLogger } from "#core/log.ts";
import { exactBytes } from "#db/database.ts";
import { checkValueLength } from "#products/kv/checks.ts";
import { kvErrors } from "#products/kv/errors.ts";
import { limits } from "#products/kv/schema.ts";
import type { KvBytes } from "#products/kv/store.ts";
import { DamagedFileError, type ValueFiles, type ValueWriter } from "#products/kv/value-files.ts";
import type { StoredValue } from "#products/kv/writes.ts";

const log = createLogger("kv.values");

/** Puts values where they belong: small ones into what goes to the database, large ones into files. */
export function valueKeeper(files: ValueFiles): (body: KvBytes, sizeBytes?: number) => Promise<StoredValue> {
  /** Bytes of streamed values that are in memory now, over all callers. */
  let held = 0;

  async function keepPieces(pieces: AsyncIterable<Uint8Array>, large: boolean): Promise<StoredValue> {
    const kept: Uint8Array[] = [];
    let size = 0;
    let mine = 0;
    let writer: ValueWriter | undefined;
    try {
      if (large) writer = await files.create();
      for await (const piece of pieces) {
        size += piece.length;
        checkValueLength(size);
        if (writer) {
          await writer.write(piece);
          continue;
        }
        kept.push(piece);
        mine += piece.length;
        held += piece.length;
        if (size <= limits.inlineBytes && held <= limits.heldBytes) continue;
        writer = await files.create();
        for (const early of kept) await writer.write(early);
        kept.length = 0;
        held -= mine;
        mine = 0;
      }
      return writer ? { ...(await writer.finish()), value: null, crc: null } : inline(Buffer.concat(kept, size));
    } catch (error) {
      await writer?.abort();
      throw error;
    } finally {
      held -= mine;
    }
  }

  return async (body, sizeBytes = 0) => {
    if (!(body instanceof Uint8Array)) {
      checkValueLength(sizeBytes);
      return keepPieces(body, sizeBytes > limits.inlineBytes);
    }
    checkValueLength(body.length);
    return body.length <= limits.inlineBytes ? inline(body) : keepPieces(onePiece(body), true);
  };
}

function inline(value: Uint8Array): StoredValue {
  return { sizeBytes: value.length, value: exactBytes(value), crc: crc32(value), file: null, blocks: null };
}

async function* onePiece(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

type Place = { namespace: number; key: string };

/** The bytes of a value that is in the database, once they are known to be those that were written; else undefined. */
export function inlineBytes({ value, crc, sizeBytes }: StoredValue, place: Place): Uint8Array | undefined {
  if (value === null) return undefined;
  if (value.length !== sizeBytes || crc32(value) !== crc) throw damaged(place, new Error("the checksum differs"));
  return value;
}

/** The pieces of a value that is a file, each checked before it is handed on. */
export async function fileBytes(
  files: ValueFiles,
  { file, blocks, sizeBytes }: StoredValue,
  place: Place,
): Promise<AsyncIterable<Uint8Array>> {
  if (file === null || blocks === null) throw damaged(place, new Error("the row names no value"));
  try {
    return reportDamage(await files.read({ file, sizeBytes, blocks }), place);
  } catch (error) {
    throw error instanceof DamagedFileError ? damaged(place, error) : error;
  }
}

async function* reportDamage(pieces: AsyncIterable<Buffer>, place: Place): AsyncGenerator<Buffer> {
  try {
    yield* pieces;
  } catch (error) {
    throw error instanceof DamagedFileError ? damaged(place, error) : error;
  }
}

/** Logs where, but not the key itself: keys are often secrets, such as the tokens of sessions. */
function damaged({ namespace, key }: Place, error: Error): Error {
  const keySha256 = createHash("sha256").update(key).digest("hex").slice(0, 16);
  log.error("a stored value is damaged", { namespace, keySha256, error });
  return kvErrors.valueDamaged();
}
