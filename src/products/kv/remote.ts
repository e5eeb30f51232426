import type { StoreCall, StoreClient, StoreMethods } from "#http/store-rpc.ts";
import type { KvInfo, KvPair, KvPut, KvSpace, KvStore } from "#products/kv/store.ts";

/** Under which name the store process offers KV. */
const storeName = "kv";

type SentPair = Omit<KvPair, "value"> & { sizeBytes: number };

/** The store of another process. Values stream both ways; those of bulk calls follow one another in the body. */
export function remoteKvStore(client: StoreClient): KvStore {
  const ask = async <T>(method: string, ...args: unknown[]): Promise<T> => {
    const { value, body } = await client.call(storeName, method, args);
    await readToEnd(body);
    return value as T;
  };
  return {
    createNamespace: (...args) => ask("createNamespace", ...args),
    getNamespace: (...args) => ask("getNamespace", ...args),
    listNamespaces: (...args) => ask("listNamespaces", ...args),
    renameNamespace: (...args) => ask("renameNamespace", ...args),
    async deleteNamespace(...args) {
      await ask("deleteNamespace", ...args);
    },
    consistency: (...args) => ask("consistency", ...args),
    async setConsistency(...args) {
      await ask("setConsistency", ...args);
    },
    async get(...args) {
      const { value, body } = await client.call(storeName, "get", args);
      if (value !== null) return { ...(value as KvInfo), body };
      await readToEnd(body);
      return undefined;
    },
    getInfo: async (...args) => (await ask<KvInfo | null>("getInfo", ...args)) ?? undefined,
    async getMany(...args) {
      const { value, body } = await client.call(storeName, "getMany", args);
      const infos = value as (KvInfo | null)[];
      const values = splitBody(
        infos.flatMap((info) => (info ? info.sizeBytes : [])),
        body,
      );
      const answers = [];
      for (const info of infos) {
        const next = info ? await values.next() : undefined;
        answers.push(info && next && !next.done ? { ...info, body: next.value } : undefined);
      }
      await values.next();
      return answers;
    },
    async put(space, key, { body, ...options }) {
      const { body: nothing } = await client.call(storeName, "put", [space, key, options], { body });
      await readToEnd(nothing);
    },
    async delete(...args) {
      await ask("delete", ...args);
    },
    list: (...args) => ask("list", ...args),
    async putMany(space, pairs) {
      const sent: SentPair[] = [];
      const values: Uint8Array[] = [];
      for await (const { value, ...pair } of pairs) {
        sent.push({ ...pair, sizeBytes: value.length });
        values.push(value);
      }
      const { body } = await client.call(storeName, "putMany", [space, sent], { body: inLargePieces(values) });
      await readToEnd(body);
    },
    async deleteMany(...args) {
      await ask("deleteMany", ...args);
    },
  };
}

/** What the process with the store answers to `remoteKvStore`. */
export function kvMethods(store: KvStore): StoreMethods {
  const passing =
    (name: keyof KvStore): StoreMethods[string] =>
    async ({ args }) => {
      const run = store[name] as (...args: unknown[]) => Promise<unknown>;
      return { value: (await run.apply(store, args as unknown[])) ?? null };
    };
  return {
    createNamespace: passing("createNamespace"),
    getNamespace: passing("getNamespace"),
    listNamespaces: passing("listNamespaces"),
    renameNamespace: passing("renameNamespace"),
    deleteNamespace: passing("deleteNamespace"),
    consistency: passing("consistency"),
    setConsistency: passing("setConsistency"),
    getInfo: passing("getInfo"),
    delete: passing("delete"),
    deleteMany: passing("deleteMany"),
    list: passing("list"),
    async get({ args }) {
      const value = await store.get(...(args as Parameters<KvStore["get"]>));
      if (!value) return { value: null };
      const { body, ...info } = value;
      return { value: info, body, length: info.sizeBytes };
    },
    async getMany({ args }) {
      const values = await store.getMany(...(args as Parameters<KvStore["getMany"]>));
      const infos = values.map((value) => (value ? { ...value, body: undefined } : null));
      return { value: infos, body: inLargePieces(values.flatMap((value) => value?.body ?? [])) };
    },
    async put({ args, body }) {
      const [space, key, options] = args as [KvSpace, string, Omit<KvPut, "body">];
      await store.put(space, key, { ...options, body });
      return { value: null };
    },
    async putMany({ args, body }) {
      const [space, pairs] = args as [KvSpace, SentPair[]];
      await store.putMany(space, receivedPairs(pairs, body));
      return { value: null };
    },
  };
}

async function* receivedPairs(pairs: SentPair[], body: StoreCall["body"]): AsyncGenerator<KvPair> {
  const values = splitBody(
    pairs.map(({ sizeBytes }) => sizeBytes),
    body,
  );
  for (const { sizeBytes: _, ...pair } of pairs) {
    const { value, done } = await values.next();
    if (!done) yield { ...pair, value };
  }
}

/** Values of `sizes` bytes each, in turn. A body that ends too early is an error, never a short value. */
async function* splitBody(sizes: readonly number[], body: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const iterator = body[Symbol.asyncIterator]();
  let rest: Buffer = Buffer.alloc(0);
  for (const size of sizes) {
    const pieces: Buffer[] = [rest];
    let have = rest.length;
    while (have < size) {
      const { value, done } = await iterator.next();
      if (done) throw new Error(`${have} of ${size} bytes of a value arrived`);
      pieces.push(value);
      have += value.length;
    }
    const bytes = pieces.length === 1 ? rest : Buffer.concat(pieces, have);
    yield bytes.subarray(0, size);
    rest = bytes.subarray(size);
  }
  await iterator.next();
}

/** Small pieces joined: each piece costs a write and a chunk of its own. */
async function* inLargePieces(pieces: readonly Uint8Array[], bytes = 64 * 1024): AsyncGenerator<Uint8Array> {
  let waiting: Uint8Array[] = [];
  let size = 0;
  for (const piece of pieces) {
    waiting.push(piece);
    size += piece.length;
    if (size < bytes) continue;
    yield Buffer.concat(waiting, size);
    waiting = [];
    size = 0;
  }
  if (size > 0) yield Buffer.concat(waiting, size);
}

/** A connection is free for the next call when its answer was read to the end. */
async function readToEnd(body: AsyncIterable<Buffer>): Promise<void> {
  for await (const _ of body);
}
