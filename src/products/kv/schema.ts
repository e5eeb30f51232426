import { z } from "zod";

/** A namespace as its owner sees it. */
export type KvNamespace = { id: string; accountId: string; title: string };

/**
 * How soon reads of bindings see a write. `strong`: at once. `edge`: as Cloudflare documents it, a location goes on reading
 * what it has cached for up to a minute, so that an application can be tested against it.
 */
export type KvConsistency = "strong" | "edge";

/** What a list says of one key. `metadata` is JSON text, `expiration` seconds since 1970. */
export type KvKey = { name: string; expiration?: number; metadata?: string };

const mebibyte = 1024 * 1024;

/** Cloudflare's limits (https://developers.cloudflare.com/kv/platform/limits/), then our own. */
export const limits = {
  /** Bytes of a key, and of a list's prefix, in UTF-8. */
  keyBytes: 512,
  valueBytes: 25 * mebibyte,
  /** Bytes of the metadata's JSON text. */
  metadataBytes: 1024,
  /** A key lives at least this long; https://developers.cloudflare.com/kv/api/write-key-value-pairs/#expiring-keys. */
  expirationSecondsMin: 60,
  /** 30 in miniflare 5 and in workerd's own KV; the documentation still says 60. */
  cacheTtlSecondsMin: 30,
  /** Keys on one page of a list. */
  listKeys: 1000,
  /** The API, unlike a binding, refuses shorter pages. */
  apiListKeysMin: 10,
  bulkGetKeys: 100,
  /** Bytes of all values of one bulk get. */
  bulkGetBytes: 25 * mebibyte,
  /** Pairs, or keys, of one bulk write or delete. */
  bulkWriteKeys: 10_000,
  /** Bytes of a bulk write's body: "100 megabytes or less". */
  bulkWriteBytes: 100_000_000,
  /** Bytes of a bulk delete's body: so many keys, each byte escaped. */
  bulkDeleteBytes: 32 * mebibyte,
  /** Characters of a namespace's title. */
  titleLength: 512,
  namespacesPerPage: 1000,

  /** Larger values are files of their own. */
  inlineBytes: mebibyte,
  /** Values up to here stand in their key's row; above, rows would make the tree of keys slow (a twentieth of a page, sqlite.org/withoutrowid.html). */
  rowBytes: 200,
  /** A file is checked, and its bytes handed on, in blocks of this size. */
  blockBytes: 256 * 1024,
  /** Bytes of streamed values held in memory at once; past it even small ones go through a file. */
  heldBytes: 64 * mebibyte,
  /** A bulk write is one atomic change up to so many bytes of values outside files, else several in the order given. */
  atomicBytes: 16 * mebibyte,
  /** Rows that a list looks at: many expired ones in a row end a page early. */
  listScan: 5000,
  /** Rows, and bytes of values, that one step of the clean-up frees; other writes go between the steps. */
  sweepRows: 200,
  sweepBytes: 8 * mebibyte,
  /** How often the clean-up looks for work. */
  sweepEveryMs: 1000,
  /** A file outlives its row by this time, for readers that have seen the row and not opened the file yet. */
  fileGraceMs: 2000,
  /** A value that nobody begins to read gives its descriptor back after this time. */
  unreadMs: 5000,
  /** How long a location reads what it has cached, unless a read asks for another time; kv/concepts/how-kv-works. */
  cacheTtlSeconds: 60,
  /** Keys and bytes of values that all locations of edge namespaces have cached. */
  edgeKeys: 100_000,
  edgeBytes: 64 * mebibyte,
  /** Room on the disk that is left for deletions: with less, nothing new is taken. */
  reserveBytes: 64 * mebibyte,
  /** Namespaces whose place is remembered. */
  namespacesKnown: 10_000,
} as const;

/** The body that makes or renames a namespace. */
export const namespaceBody = z.looseObject({ title: z.string().optional() });

/** Ours: the settings of a namespace. */
export const settingsBody = z.strictObject({ consistency: z.enum(["strong", "edge"]) });

/** https://developers.cloudflare.com/api/resources/kv/subresources/namespaces/methods/bulk_update/ */
export const bulkWriteBody = z.array(
  z.looseObject({
    key: z.string(),
    value: z.string(),
    base64: z.boolean().nullish(),
    expiration: z.number().nullish(),
    expiration_ttl: z.number().nullish(),
    metadata: z.unknown().optional(),
  }),
);

export type BulkWriteBody = z.infer<typeof bulkWriteBody>;

export const bulkDeleteBody = z.array(z.string());

/** https://developers.cloudflare.com/api/resources/kv/subresources/namespaces/methods/bulk_get/; a binding sends the same. */
export const bulkGetBody = z.looseObject({
  keys: z.array(z.string()),
  type: z.string().nullish(),
  withMetadata: z.boolean().nullish(),
  /** Seconds; a text when it comes from a binding. */
  cacheTtl: z.union([z.string(), z.number()]).nullish(),
});

export type BulkGetBody = z.infer<typeof bulkGetBody>;
