import type { KvPair, KvSpace, KvStore } from "#products/kv/store.ts";

/**
 * A writer whose every state can be told from a counter: what its keys hold after write `n` follows from `n` alone. So
 * whoever finds the keys later knows which write they come from, and whether it is there as a whole.
 */
export type Writer = { id: number };

const bulkKeys = 20;

/** The keys of a writer: one that is written alone, and some that are written together. */
export function keysOf({ id }: Writer): { single: string; bulk: string[] } {
  return { single: `w${id}`, bulk: Array.from({ length: bulkKeys }, (_, n) => `b${id}/${String(n).padStart(2, "0")}`) };
}

/** What `key` holds after write `n`; undefined when that write deleted it. */
export function valueAfter(key: string, n: number): Buffer | undefined {
  const kind = n % 5;
  if (n === 0 || kind === 4) return undefined;
  const alone = key.startsWith("w");
  const size = alone && kind === 3 ? 1_100_000 + (n % 7) * 200_000 : 20 + ((n * 7919) % (alone ? 30_000 : 3000));
  const value = Buffer.alloc(size, `${key}:${n};`);
  return value;
}

/** Write `n` of a writer; its keys together are one change, and so is the single one. */
export async function write(store: KvStore, space: KvSpace, writer: Writer, n: number): Promise<void> {
  const { single, bulk } = keysOf(writer);
  const value = valueAfter(single, n);
  if (!value) await Promise.all([store.delete(space, single), store.deleteMany(space, bulk)]);
  else {
    const pairs = bulk.map((key): KvPair => ({ key, value: valueAfter(key, n) ?? Buffer.alloc(0) }));
    await Promise.all([store.put(space, single, { body: inPieces(value) }), store.putMany(space, pairs)]);
  }
}

async function* inPieces(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 64 * 1024) yield bytes.subarray(at, at + 64 * 1024);
}
