import { dirname } from "node:path";
import { setImmediate } from "node:timers/promises";
import { buffer } from "node:stream/consumers";
import { lowSpace } from "#core/free-space.ts";
import { createLogger } from "#core/log.ts";
import { openDatabase, type Database } from "#db/database.ts";
import { checkKey, checkMetadata, expiresAt, type GivenExpiry } from "#products/kv/checks.ts";
import { cleanUp } from "#products/kv/clean-up.ts";
import { kvErrors } from "#products/kv/errors.ts";
import { keyLister } from "#products/kv/list-keys.ts";
import { namespacesOf } from "#products/kv/namespaces.ts";
import { rowReader } from "#products/kv/rows.ts";
import { limits } from "#products/kv/schema.ts";
import type { KvSpace, KvStore } from "#products/kv/store.ts";
import { fileBytes, inlineBytes, valueKeeper } from "#products/kv/stored-values.ts";
import { openValueFiles, type ValueFiles } from "#products/kv/value-files.ts";
import * as writes from "#products/kv/writes.ts";

const log = createLogger("kv.store");

/** Opens the store of one installation: `file` is its database, `values` the folder of its large values. */
export async function openKvStore(options: {
  file: string;
  values: string;
  /** Milliseconds since 1970. */
  now?: () => number;
}): Promise<KvStore & AsyncDisposable> {
  const { file, values, now = Date.now } = options;
  const nowSeconds = () => Math.floor(now() / 1000);
  const files = await openValueFiles(values);
  const db = await openDatabase(file, ["kv"]);
  const stopping = new AbortController();
  const { signal } = stopping;
  const named = db.prepare("SELECT 1 FROM kv_entries WHERE file = ?");
  const tidying = Promise.all([
    cleanUp({ db, nowSeconds, release: (names) => files.release(names), signal }),
    files
      .sweep((name) => named.get(name) !== undefined, signal)
      .catch((error: unknown) => log.warn("files of an earlier run were not removed", { error })),
  ]);
  const { methods, locate } = namespacesOf(db);
  const isLow = lowSpace(dirname(file), limits.reserveBytes);
  return {
    ...methods,
    ...readMethods({ db, files, locate, nowSeconds }),
    ...writeMethods({ db, files, locate, nowSeconds, isLow }),
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await tidying;
      await db.close();
      await files[Symbol.asyncDispose]();
    },
  };
}

type Parts = { db: Database; files: ValueFiles; locate: (space: KvSpace) => number; nowSeconds: () => number };

function readMethods({ db, files, locate, nowSeconds }: Parts): Pick<KvStore, "get" | "getInfo" | "getMany" | "list"> {
  const rows = rowReader(db, nowSeconds);
  const list = keyLister(db);

  return {
    async get(space, key) {
      checkKey(key);
      const namespace = locate(space);
      const row = rows.get(namespace, key);
      if (!row) return undefined;
      const place = { namespace, key };
      return { ...row.info, body: inlineBytes(row.stored, place) ?? (await fileBytes(files, row.stored, place)) };
    },
    async getInfo(space, key) {
      checkKey(key);
      return rows.getInfo(locate(space), key);
    },
    async getMany(space, keys) {
      if (keys.length === 0) throw kvErrors.bulkGetEmpty();
      if (keys.length > limits.bulkGetKeys) throw kvErrors.bulkGetTooMany();
      for (const key of keys) checkKey(key);
      const namespace = locate(space);
      const values = [];
      let total = 0;
      let sinceRest = 0;
      for (const key of keys) {
        const row = rows.get(namespace, key);
        if (!row) {
          values.push(undefined);
          continue;
        }
        total += row.info.sizeBytes;
        if (total > limits.bulkGetBytes) throw kvErrors.bulkGetTooLarge();
        const place = { namespace, key };
        const body = inlineBytes(row.stored, place) ?? (await buffer(await fileBytes(files, row.stored, place)));
        values.push({ ...row.info, body });
        sinceRest += row.info.sizeBytes;
        // Others are not to wait for 25 MiB of reading.
        if (sinceRest > limits.inlineBytes) {
          sinceRest = 0;
          await setImmediate();
        }
      }
      return values;
    },
    async list(space, query) {
      return list(locate(space), query, nowSeconds());
    },
  };
}

function writeMethods(
  parts: Parts & { isLow: (bytes: number) => boolean },
): Pick<KvStore, "put" | "putMany" | "delete" | "deleteMany"> {
  const { db, files, locate, nowSeconds, isLow } = parts;
  const keep = valueKeeper(files);
  const describe = (key: string, given: GivenExpiry & { metadata?: string | undefined }) => {
    checkKey(key);
    const metadata = given.metadata === undefined ? null : checkMetadata(given.metadata);
    return { key, expires: expiresAt(given, nowSeconds()), metadata };
  };
  const requireSpace = (bytes: number) => {
    if (isLow(bytes)) throw kvErrors.storageFull();
  };
  /** Writes `pairs`; their files go when that fails, the files they replace when it does not. */
  const commit = async (namespace: number, pairs: writes.StoredPair[]) => {
    const [first] = pairs;
    if (!first) return;
    try {
      files.release(
        pairs.length === 1
          ? await db.write(writes.putPair, { namespace, pair: first })
          : await db.write(writes.putPairs, { namespace, pairs }),
      );
    } catch (error) {
      files.release(pairs.flatMap(({ file }) => file ?? []));
      throw error;
    }
  };
  const remove = async (space: KvSpace, keys: readonly string[]) => {
    for (const key of keys) checkKey(key);
    files.release(await db.write(writes.deleteKeys, { namespace: locate(space), keys }));
  };

  return {
    async put(space, key, { body, sizeBytes, ...given }) {
      const described = describe(key, given);
      const namespace = locate(space);
      requireSpace(body instanceof Uint8Array ? body.length : (sizeBytes ?? limits.inlineBytes));
      const stored = await keep(body, sizeBytes);
      await commit(namespace, [{ ...described, ...stored }]);
    },
    async putMany(space, pairs) {
      const namespace = locate(space);
      let part: writes.StoredPair[] = [];
      let bytes = 0;
      try {
        for await (const { key, value, ...given } of pairs) {
          requireSpace(value.length);
          const pair = { ...describe(key, given), ...(await keep(value)) };
          const inline = pair.value?.length ?? 0;
          if (bytes + inline <= limits.atomicBytes) {
            part.push(pair);
            bytes += inline;
            continue;
          }
          const full = part;
          part = [pair];
          bytes = inline;
          await commit(namespace, full);
        }
      } catch (error) {
        files.release(part.flatMap(({ file }) => file ?? []));
        throw error;
      }
      await commit(namespace, part);
    },
    async delete(space, key) {
      await remove(space, [key]);
    },
    async deleteMany(space, keys) {
      if (keys.length > limits.bulkWriteKeys) throw kvErrors.bulkWriteTooMany();
      await remove(space, keys);
    },
  };
}
