import type { GivenExpiry } from "#products/kv/checks.ts";
import type { KvConsistency, KvKey, KvNamespace } from "#products/kv/schema.ts";

/**
 * Which namespace is meant, and on whose word: an account's own (another's does not exist for it), or the one that a
 * binding's capability names.
 */
export type KvSpace = { accountId: string; namespaceId: string } | { boundNamespaceId: string };

/** Bytes in memory, or pieces as they come. */
export type KvBytes = Uint8Array | AsyncIterable<Uint8Array>;

type KvValue = {
  /** Pieces of a value that is a file; not reading them to the end is fine. */
  body: KvBytes;
  sizeBytes: number;
  /** Seconds since 1970. */
  expiration?: number;
  /** JSON text. */
  metadata?: string;
};

/** What is known of a value besides its bytes. */
export type KvInfo = Omit<KvValue, "body">;

export type KvPut = GivenExpiry & {
  body: KvBytes;
  /** Length of a `body` that comes in pieces, when it is known. */
  sizeBytes?: number | undefined;
  /** JSON text. */
  metadata?: string | undefined;
};

/** One pair of a bulk write; in memory as a whole. */
export type KvPair = GivenExpiry & { key: string; value: Uint8Array; metadata?: string | undefined };

export type KvPage = {
  keys: KvKey[];
  /** Where the next page begins; undefined on the last. */
  cursor: string | undefined;
};

type NamespaceOrder = { order: "id" | "title"; direction: "asc" | "desc"; page: number; perPage: number };

/**
 * Workers KV. Every read sees every write that was answered; Cloudflare promises less. A write is answered when it is on
 * disk. Whatever takes an account, as such or in a space, treats what another account owns as absent.
 */
export interface KvStore {
  createNamespace(accountId: string, title: string): Promise<KvNamespace>;
  getNamespace(accountId: string, id: string): Promise<KvNamespace>;
  listNamespaces(accountId: string, order: NamespaceOrder): Promise<{ namespaces: KvNamespace[]; total: number }>;
  renameNamespace(accountId: string, id: string, title: string): Promise<KvNamespace>;
  /** The namespace and its keys are gone at once; the room they took is freed afterwards, in small steps. */
  deleteNamespace(accountId: string, id: string): Promise<void>;

  consistency(space: KvSpace): Promise<KvConsistency>;
  setConsistency(accountId: string, id: string, consistency: KvConsistency): Promise<void>;

  /** undefined when there is no such key, or its time is over. */
  get(space: KvSpace, key: string): Promise<KvValue | undefined>;
  getInfo(space: KvSpace, key: string): Promise<KvInfo | undefined>;
  /** One answer for each key, in the order asked for. Refuses more than a bulk get may hold. */
  getMany(space: KvSpace, keys: readonly string[]): Promise<((KvInfo & { body: Uint8Array }) | undefined)[]>;
  put(space: KvSpace, key: string, put: KvPut): Promise<void>;
  /** Nothing happens when there is no such key. */
  delete(space: KvSpace, key: string): Promise<void>;
  /** Keys in the order of their UTF-8 bytes. A page may be short of keys, even empty, and not the last. */
  list(space: KvSpace, query: { prefix?: string; limit?: number; cursor?: string | undefined }): Promise<KvPage>;
  /** Writes all pairs or none, up to `limits.atomicBytes`; a larger write happens in such parts, in order. */
  putMany(space: KvSpace, pairs: Iterable<KvPair> | AsyncIterable<KvPair>): Promise<void>;
  deleteMany(space: KvSpace, keys: readonly string[]): Promise<void>;
}
