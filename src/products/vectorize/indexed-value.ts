import { limits, type MetadataIndex, type Scalar } from "#products/vectorize/schema.ts";

/** What SQLite compares. Texts are cut, booleans are 0 and 1. */
export type Comparable = string | number;

/** What a metadata index holds of a vector; undefined when it has nothing of the index's type at that path. */
export function indexedValue(metadata: Record<string, unknown>, index: MetadataIndex): Comparable | undefined {
  const value = atPath(metadata, index.propertyName);
  return typeof value === index.indexType ? comparable(value as Scalar) : undefined;
}

export function comparable(value: Scalar): Comparable | undefined {
  if (value === null) return undefined;
  if (typeof value === "string") return cut(value);
  return typeof value === "boolean" ? Number(value) : value;
}

/** `a.b` is the member `b` of `a`, or a member of that very name. */
export function atPath(metadata: Record<string, unknown>, path: string): unknown {
  if (Object.hasOwn(metadata, path)) return metadata[path];
  let at: unknown = metadata;
  for (const name of path.split(".")) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, name)) return undefined;
    at = (at as Record<string, unknown>)[name];
  }
  return at;
}

function cut(text: string): string {
  const bytes = Buffer.from(text);
  return bytes.length <= limits.indexedBytes ? text : bytes.subarray(0, limits.indexedBytes).toString("utf8");
}
