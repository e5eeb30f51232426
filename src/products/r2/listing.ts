import { r2Errors } from "#products/r2/errors.ts";
import { limits, type ListedObject, type ListOptions, type ObjectList } from "#products/r2/schema.ts";

/** Where a list goes on: at this key, or after it. */
export type Position = { key: Buffer; inclusive: boolean };

/** An object as a page of rows brings it, with about how many bytes of JSON it takes. */
export type ListedRow = { key: Buffer; object: ListedObject; jsonBytes: number };

/** Up to `count` objects of a bucket from `from` on, before `end` (undefined: to the last one), in the order of their keys. */
export type ReadRows = (from: Position, end: Buffer | undefined, count: number) => ListedRow[];

/** Bytes of a delimited prefix in the reply, besides the text. */
const prefixJsonBytes = 4;

/**
 * A page of a list. With a delimiter, keys that share what follows the prefix up to the first delimiter are one entry, and
 * the rows behind it are skipped by a seek, so a folder costs the same whatever it holds.
 */
export function listObjects(options: ListOptions, readRows: ReadRows): ObjectList {
  const limit = options.limit ?? limits.listKeys;
  if (!(limit >= 1 && limit <= limits.listKeys)) throw r2Errors.listLimit();
  const prefix = Buffer.from(options.prefix ?? "");
  const delimiter = options.delimiter ? Buffer.from(options.delimiter) : undefined;
  const end = prefix.length > 0 ? successor(prefix) : undefined;
  const objects: ListedObject[] = [];
  const delimitedPrefixes: string[] = [];
  let room: number = limits.listReplyBytes;
  const start = startOf(options, prefix);
  if (!start) return { objects, delimitedPrefixes, truncated: false };
  let position = start;
  const count = () => objects.length + delimitedPrefixes.length;
  const cut = (): ObjectList => ({ objects, delimitedPrefixes, truncated: true, cursor: toCursor(position) });
  for (;;) {
    // One row more than there is room for tells whether the list goes on. With a delimiter most rows may be skipped.
    const wanted = delimiter ? Math.min(limit - count() + 1, 64) : limit - count() + 1;
    const rows = readRows(position, end, wanted);
    let seek = false;
    for (const { key, object, jsonBytes } of rows) {
      const folder = delimiter && folderOf(key, prefix.length, delimiter);
      const size = folder ? folder.length + prefixJsonBytes : jsonBytes;
      if (count() === limit || (size > room && count() > 0)) return cut();
      room -= size;
      if (!folder) {
        objects.push(object);
        position = { key, inclusive: false };
        continue;
      }
      delimitedPrefixes.push(folder.toString());
      const next = successor(folder);
      if (!next) return { objects, delimitedPrefixes, truncated: false };
      position = { key: next, inclusive: true };
      seek = true;
      break;
    }
    if (!seek && rows.length < wanted) return { objects, delimitedPrefixes, truncated: false };
  }
}

/** What of `key` is shared by all that is behind the first delimiter after the prefix. */
function folderOf(key: Buffer, prefixLength: number, delimiter: Buffer): Buffer | undefined {
  const found = key.indexOf(delimiter, prefixLength);
  return found < 0 ? undefined : key.subarray(0, found + delimiter.length);
}

/** The last of the places that the caller names; undefined for a cursor that is none of ours: such a list is empty, as on R2. */
function startOf(options: ListOptions, prefix: Buffer): Position | undefined {
  const positions: Position[] = [{ key: prefix, inclusive: true }];
  if (options.startAfter !== undefined) positions.push({ key: Buffer.from(options.startAfter), inclusive: false });
  if (options.cursor !== undefined) {
    const cursor = fromCursor(options.cursor);
    if (!cursor) return undefined;
    positions.push(cursor);
  }
  return positions.reduce((a, b) => (comparePositions(a, b) < 0 ? b : a));
}

function comparePositions(a: Position, b: Position): number {
  return Buffer.compare(a.key, b.key) || Number(b.inclusive) - Number(a.inclusive);
}

/** The least bytes after everything that begins with `bytes`; undefined when there are none. */
function successor(bytes: Buffer): Buffer | undefined {
  let last = bytes.length - 1;
  while (last >= 0 && bytes[last] === 0xff) last--;
  if (last < 0) return undefined;
  const next = Buffer.from(bytes.subarray(0, last + 1));
  next[last] = (next[last] ?? 0) + 1;
  return next;
}

const at = "i";
const after = "a";

function toCursor({ key, inclusive }: Position): string {
  return (inclusive ? at : after) + key.toString("base64url");
}

function fromCursor(cursor: string): Position | undefined {
  const inclusive = cursor.startsWith(at);
  if (!inclusive && !cursor.startsWith(after)) return undefined;
  const key = Buffer.from(cursor.slice(1), "base64url");
  return key.toString("base64url") === cursor.slice(1) ? { key, inclusive } : undefined;
}
