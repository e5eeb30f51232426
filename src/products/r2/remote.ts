import type { StoreCall, StoreClient, StoreMethods } from "#http/store-rpc.ts";
import type { ByteRange, ObjectHead } from "#products/r2/schema.ts";
import type { Bytes, R2Store } from "#products/r2/store.ts";

/** Calls whose arguments and result are JSON; the others carry bytes as well. */
const plainMethods = [
  "createBucket",
  "getBucket",
  "listBuckets",
  "deleteBucket",
  "setStorageClass",
  "head",
  "delete",
  "list",
  "createMultipartUpload",
  "completeMultipartUpload",
  "abortMultipartUpload",
] as const satisfies (keyof R2Store)[];
type PlainMethod = (typeof plainMethods)[number];

/** How long such a call may take: a complete of 10,000 parts behind a slow disk is the longest. Bytes may take as long as they do. */
const plainMs = 60_000;

type Found = { object: ObjectHead; range?: ByteRange };

/** `store` for callers in other processes; `remoteR2Store` is their side of it. */
export function r2Methods(store: R2Store): StoreMethods {
  const plain = plainMethods.map((name) => [
    name,
    async ({ args }: StoreCall) => ({ value: await Reflect.apply(store[name], store, given(args) as never) }),
  ]);
  return {
    ...(Object.fromEntries(plain) as StoreMethods),
    async get({ args }) {
      const found = await store.get(...(given(args) as Parameters<R2Store["get"]>));
      if (!found) return { value: null };
      const { object, content } = found;
      if (!content) return { value: { object } satisfies Found };
      const { range, bytes } = content;
      return { value: { object, range } satisfies Found, body: bytes, length: range.length };
    },
    async put({ args, body }) {
      const [bucketId, key, options] = given(args) as [string, string, Parameters<R2Store["put"]>[3]];
      return { value: await store.put(bucketId, key, body, options) };
    },
    async uploadPart({ args, body }) {
      const [bucketId, key, uploadId, part] = args as [string, string, string, number];
      return { value: await store.uploadPart(bucketId, key, uploadId, part, body) };
    },
  };
}

/** Arguments as they were given: JSON has null where a trailing one was left out. */
function given(args: unknown): unknown[] {
  return (args as unknown[]).map((value) => value ?? undefined);
}

/** The store that another process serves with `r2Methods` under the name `r2`. */
export function remoteR2Store(client: StoreClient): R2Store {
  const plain = async (name: PlainMethod, ...args: unknown[]) => {
    const { value, body } = await client.call("r2", name, args, { signal: AbortSignal.timeout(plainMs) });
    await drain(body);
    return value ?? undefined;
  };
  const withBody = async (name: "put" | "uploadPart", args: unknown[], body: Bytes) => {
    const answer = await client.call("r2", name, args, { body });
    await drain(answer.body);
    return answer.value;
  };
  const methods = Object.fromEntries(plainMethods.map((name) => [name, (...args: unknown[]) => plain(name, ...args)]));
  return {
    ...(methods as Pick<R2Store, PlainMethod>),
    async get(bucketId, key, options) {
      const { value, body } = await client.call("r2", "get", [bucketId, key, options]);
      const { object, range } = (value ?? {}) as Partial<Found>;
      if (object && range) return { object, content: { range, bytes: body } };
      await drain(body);
      return object && { object, content: undefined };
    },
    async put(bucketId, key, body, options) {
      return (await withBody("put", [bucketId, key, options], body)) as ObjectHead;
    },
    async uploadPart(bucketId, key, uploadId, part, body) {
      return (await withBody("uploadPart", [bucketId, key, uploadId, part], body)) as string;
    },
  };
}

/** Reads an answer to its end, which frees its connection for the next call. */
async function drain(body: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of body);
}
