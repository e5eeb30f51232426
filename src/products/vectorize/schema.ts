import { z } from "zod";

/** Wire shapes and limits of Vectorize, https://developers.cloudflare.com/vectorize/platform/limits/. */
export const limits = {
  dimensions: 1536,
  nameBytes: 64,
  descriptionBytes: 1024,
  indexes: 50_000,
  idBytes: 64,
  namespaceBytes: 64,
  metadataBytes: 10 * 1024,
  /** Vectors of one insert by the binding and by HTTP, and bytes of it. */
  bindingBatch: 1000,
  httpBatch: 5000,
  uploadBytes: 100 * 1024 * 1024,
  topK: 100,
  /** With values or with all metadata. */
  topKWithMore: 50,
  /** Ids of one call. */
  idsToGet: 20,
  idsToDelete: 100,
  listPage: 1000,
  listPageDefault: 100,
  metadataIndexes: 10,
  /** So much of a text is compared by a filter. */
  indexedBytes: 64,
  filterBytes: 2048,
  jsonBytes: 1024 * 1024,
} as const;

export type Metric = "cosine" | "euclidean" | "dot-product";

/** https://developers.cloudflare.com/vectorize/best-practices/create-indexes/#embedding-models-and-dimensions; wrangler's own list. */
const presets: Record<string, { dimensions: number; metric: Metric }> = {
  "@cf/baai/bge-small-en-v1.5": { dimensions: 384, metric: "cosine" },
  "@cf/baai/bge-base-en-v1.5": { dimensions: 768, metric: "cosine" },
  "@cf/baai/bge-large-en-v1.5": { dimensions: 1024, metric: "cosine" },
  "openai/text-embedding-ada-002": { dimensions: 1536, metric: "cosine" },
  "cohere/embed-multilingual-v2.0": { dimensions: 768, metric: "dot-product" },
};

export const newIndex = z.looseObject({
  name: z
    .string()
    .regex(/^[a-z][a-z0-9_-]*$/)
    .max(limits.nameBytes),
  description: z.string().max(limits.descriptionBytes).nullish(),
  config: z.union([
    z.looseObject({
      dimensions: z.number().int().min(1).max(limits.dimensions),
      metric: z.enum(["cosine", "euclidean", "dot-product"]),
    }),
    z
      .looseObject({ preset: z.enum(Object.keys(presets)) })
      .transform(({ preset }) => presets[preset] ?? { dimensions: 768, metric: "cosine" as const }),
  ]),
});

const scalar = z.union([z.string(), z.number(), z.boolean(), z.null()]);
const list = z.array(scalar).max(100);
const condition = z.strictObject({
  $eq: scalar.optional(),
  $ne: scalar.optional(),
  $in: list.optional(),
  $nin: list.optional(),
  $lt: scalar.optional(),
  $lte: scalar.optional(),
  $gt: scalar.optional(),
  $gte: scalar.optional(),
});

/** https://developers.cloudflare.com/vectorize/reference/metadata-filtering/. */
export const filterShape = z.record(z.string().min(1).max(512), z.union([scalar, condition]));
export type Filter = z.infer<typeof filterShape>;
export type Scalar = z.infer<typeof scalar>;

export const queryBody = z.looseObject({
  vector: z.array(z.number()).optional(),
  vectorId: z.string().optional(),
  topK: z.number().int().min(1).default(5),
  returnValues: z.boolean().nullish(),
  returnMetadata: z
    .union([z.boolean(), z.enum(["none", "indexed", "all"])])
    .nullish()
    .transform((level) => (typeof level === "boolean" ? (level ? "all" : "none") : (level ?? "none"))),
  namespace: z.string().optional(),
  filter: filterShape.nullish(),
});
export type Query = z.infer<typeof queryBody>;

export const idsBody = z.looseObject({ ids: z.array(z.coerce.string()).min(1) });

export const newMetadataIndex = z.looseObject({
  propertyName: z.string().min(1).max(512),
  indexType: z.preprocess(
    (type) => (typeof type === "string" ? type.toLowerCase() : type),
    z.enum(["string", "number", "boolean"]),
  ),
});
export const goneMetadataIndex = z.looseObject({ propertyName: z.string().min(1) });

/** A line of an insert. */
export const vectorLine = z.looseObject({
  id: z.coerce.string(),
  values: z.array(z.number()),
  namespace: z.string().nullish(),
  metadata: z.record(z.string(), z.unknown()).nullish(),
});

export type VectorIndex = {
  /** Number in its tables. */
  num: number;
  id: string;
  accountId: string;
  name: string;
  description: string;
  dimensions: number;
  metric: Metric;
  createdOn: string;
  modifiedOn: string;
  count: number;
  lastMutation: string;
  lastMutationMs: number;
};

export type MetadataIndex = { propertyName: string; indexType: "string" | "number" | "boolean" };

/** A vector on its way in; `values` are 32-bit floats, `metadata` JSON. */
export type NewVector = { id: string; namespace: string; metadata: string | null; values: Uint8Array };

export type Match = {
  id: string;
  score: number;
  namespace?: string;
  values?: number[];
  metadata?: unknown;
};
