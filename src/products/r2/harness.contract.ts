import { createHash } from "node:crypto";
import { buffer } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import { ApiError } from "#core/errors.ts";
import type { BucketRef } from "#products/r2/schema.ts";
import type { GetResult, R2Store } from "#products/r2/store.ts";

/** What a test works on: a store, and an empty bucket in an account of its own, which keeps it apart from the other tests. */
export type ContractContext = { store: R2Store; ref: BucketRef; bucket: string };

export const md5 = (...pieces: Uint8Array[]) =>
  pieces.reduce((hash, piece) => hash.update(piece), createHash("md5")).digest("hex");

/** The code of the ApiError that `work` throws. */
export async function codeOf(work: Promise<unknown>): Promise<number | string> {
  try {
    await work;
    return "no error";
  } catch (error) {
    return error instanceof ApiError ? error.code : String(error);
  }
}

/** All bytes of what `get` found; undefined when it found no bytes. */
export async function bytesOf(found: GetResult | undefined): Promise<Buffer | undefined> {
  const bytes = found?.content?.bytes;
  if (bytes === undefined) return undefined;
  return bytes instanceof Uint8Array ? Buffer.from(bytes) : buffer(bytes);
}

/** Bytes in pieces of odd sizes, with a turn of the event loop between them. */
export async function* streamed(bytes: Uint8Array, pieceBytes = 40_001): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    yield bytes.subarray(at, at + pieceBytes);
    await delay(0);
  }
}
