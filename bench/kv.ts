import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openKvStore } from "#products/kv/sqlite-store.ts";
import type { KvPair } from "#products/kv/store.ts";
import { machine } from "./support/figures.ts";

/**
 * The KV store as it grows: get, put and a page of a list at few keys and at many, and gets beside two clients that list all
 * keys. The store alone, without HTTP. `node bench/kv.ts [--keys 1000,1000000] [--seconds 3]`
 */
const { values } = parseArgs({
  options: { keys: { type: "string", default: "1000,1000000" }, seconds: { type: "string", default: "3" } },
});
const seconds = Number(values.seconds);
const folder = mkdtempSync(join(tmpdir(), "solum-bench-kv-"));
const file = join(folder, "kv.db");

console.log(machine());
try {
  await using store = await openKvStore({ file, values: join(folder, "kv") });
  const { id } = await store.createNamespace("acme", "bench");
  const space = { boundNamespaceId: id };
  const value = Buffer.alloc(100, "v");
  const nameOf = (n: number) => `key/${String(n).padStart(9, "0")}`;
  let count = 0;
  for (const wanted of values.keys.split(",").map(Number)) {
    const began = performance.now();
    for (; count < wanted;) {
      const first = count;
      count = Math.min(wanted, count + 10_000);
      const pairs = Array.from({ length: count - first }, (_, n): KvPair => ({ key: nameOf(first + n), value }));
      await store.putMany(space, pairs);
    }
    console.log(
      `\n${count} keys, filled in ${((performance.now() - began) / 1000).toFixed(1)} s, ${Math.round(statSync(file).size / 1e6)} MB`,
    );
    const anyKey = () => nameOf(Math.floor(Math.random() * count));
    const get = () => store.get(space, anyKey());
    report("get", await measure(1, get));
    report("put, 16 at once", await measure(16, () => store.put(space, anyKey(), { body: value })));
    report(
      "a page of 1,000 from anywhere",
      await measure(1, () => store.list(space, { prefix: anyKey().slice(0, 10) })),
    );
    const listing = new AbortController();
    const listers = [0, 1].map(async () => {
      let cursor: string | undefined;
      while (!listing.signal.aborted) {
        // A request arrives by way of the event loop.
        await new Promise(setImmediate);
        ({ cursor } = await store.list(space, { cursor }));
      }
    });
    report("get beside two that list everything", await measure(1, get));
    listing.abort();
    await Promise.all(listers);
  }
} finally {
  rmSync(folder, { recursive: true });
}

/** Times of `operation`, in microseconds, by `clients` that each wait for their answer and then a turn of the event loop. */
async function measure(clients: number, operation: () => Promise<unknown>): Promise<number[]> {
  const times: number[] = [];
  const end = performance.now() + seconds * 1000;
  const client = async () => {
    while (performance.now() < end) {
      const start = performance.now();
      await new Promise(setImmediate);
      await operation();
      times.push((performance.now() - start) * 1000);
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  return times.sort((a, b) => a - b);
}

function report(name: string, times: number[]): void {
  const at = (share: number) => Math.round(times[Math.floor(times.length * share)] ?? 0);
  console.log(
    `${name.padEnd(36)} ${String(Math.round(times.length / seconds)).padStart(7)}/s  p50 ${at(0.5)} µs  p99 ${at(0.99)} µs`,
  );
}
