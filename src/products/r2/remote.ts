import type { StoreCall, StoreClient, StoreMethods } from "#http/store-rpc.ts";
import type { ByteRange, ObjectHead, PartOptions } from "#products/r2/schema.ts";
import type { R2Settings } from "#products/r2/settings-store.ts";
import type { Bytes, R2Store } from "#products/r2/store.ts";

/** Calls whose arguments and result are JSON; the others carry bytes as well. */
const plainMethods = [
  "createBucket",
  "getBucket",
  "listBuckets",
  "deleteBucket",
  "setStorageClass",
  "head",
  "copy",
  "delete",
  "list",
  "createMultipartUpload",
  "completeMultipartUpload",
  "listParts",
  "listUploads",
  "abortMultipartUpload",
] as const satisfies (keyof R2Store)[];

const settingMethods = [
  "get",
  "set",
  "usage",
  "addDomain",
  "listDomains",
  "updateDomain",
  "removeDomain",
  "addAccessKey",
  "listAccessKeys",
  "getAccessKey",
  "updateAccessKey",
  "removeAccessKey",
] as const satisfies (keyof R2Settings)[];

/** How long such a call may take: a complete of 10,000 parts behind a slow disk is the longest. Bytes may take as long as they do. */
const plainMs = 60_000;

type Found = { object: ObjectHead; range?: ByteRange };

/** `store` for callers in other processes; `remoteR2Store` is their side of it. */
export function r2Methods(store: R2Store): StoreMethods {
  return {
    ...plainly(store, plainMethods),
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
      const [bucketId, key, uploadId, part, options] = given(args) as [string, string, string, number, PartOptions];
      return { value: await store.uploadPart(bucketId, key, uploadId, part, body, options) };
    },
  };
}

/** The settings for callers in other processes. */
export function r2SettingsMethods(settings: R2Settings): StoreMethods {
  return plainly(settings, settingMethods);
}

function plainly<Store extends object>(store: Store, names: readonly (keyof Store & string)[]): StoreMethods {
  return Object.fromEntries(
    names.map((name) => [
      name,
      async ({ args }: StoreCall) => ({
        value: await Reflect.apply(store[name] as (...given: unknown[]) => Promise<unknown>, store, given(args)),
      }),
    ]),
  );
}

/** Arguments as they were given: JSON has null where a trailing one was left out. */
function given(args: unknown): unknown[] {
  return (args as unknown[]).map((value) => value ?? undefined);
}

/** The store that another process serves with `r2Methods` under the name `r2`. */
export function remoteR2Store(client: StoreClient): R2Store {
  const withBody = async (name: "put" | "uploadPart", args: unknown[], body: Bytes) => {
    const answer = await client.call("r2", name, args, { body });
    await drain(answer.body);
    return answer.value;
  };
  return {
    ...remotely(client, "r2", plainMethods),
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
    async uploadPart(bucketId, key, uploadId, part, body, options) {
      return (await withBody("uploadPart", [bucketId, key, uploadId, part, options], body)) as string;
    },
  };
}

/** The settings that another process serves with `r2SettingsMethods` under the name `r2Settings`. */
export function remoteR2Settings(client: StoreClient): R2Settings {
  return remotely(client, "r2Settings", settingMethods);
}

function remotely<Name extends string>(
  client: StoreClient,
  store: string,
  names: readonly Name[],
): Record<Name, (...args: never[]) => Promise<never>> {
  const call = async (name: string, args: unknown[]) => {
    const { value, body } = await client.call(store, name, args, { signal: AbortSignal.timeout(plainMs) });
    await drain(body);
    return (value ?? undefined) as never;
  };
  const methods = names.map((name) => [name, async (...args: unknown[]) => call(name, args)]);
  return Object.fromEntries(methods) as Record<Name, (...args: never[]) => Promise<never>>;
}

/** Reads an answer to its end, which frees its connection for the next call. */
async function drain(body: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of body);
}
