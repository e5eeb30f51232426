import { createHash } from "node:crypto";
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { Worker } from "node:worker_threads";
import { writeSync } from "node:fs";
import { limits } from "#products/r2/schema.ts";
import type { SqliteR2Store } from "#products/r2/sqlite-store.ts";

/**
 * A process that writes through an R2 store and is killed: by its parent at any moment (`random`), or by itself before the
 * nth thing that it asks of the disk (`step`). What it says on standard output is what a caller would know.
 */
export const bucketRef = { accountId: "a1", name: "crashed", jurisdiction: "default" } as const;

export const sourcesRef = { ...bucketRef, name: "sources" } as const;

/** Bytes that follow from a name, so that whoever reads them knows whether they are whole. */
export function bytesFor(name: string, size: number): Buffer {
  return Buffer.alloc(size, createHash("sha512").update(name).digest());
}

export const paths = (folder: string) => ({
  db: `${folder}/r2.db`,
  blobs: `${folder}/r2`,
  sealKey: Buffer.alloc(32, 1),
});

/** What can be done with a key; `size` is that of the object afterwards, undefined when there is none. */
export type Operation = {
  key: string;
  name: string;
  kind: "small" | "large" | "multipart" | "copy" | "delete";
  size: number;
};

export const stepScenarios = ["put over large", "put over small", "part", "complete", "copy", "delete"] as const;
export type StepScenario = (typeof stepScenarios)[number];

const say = (line: string) => writeSync(1, `${line}\n`);

async function bodyOf(bytes: Buffer): Promise<AsyncIterable<Uint8Array>> {
  return (async function* () {
    for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
  })();
}

async function multipart(store: SqliteR2Store, bucket: string, key: string, bytes: Buffer): Promise<void> {
  const upload = await store.createMultipartUpload(bucket, key);
  const parts = [];
  for (let at = 0, part = 1; at < bytes.length; at += limits.partBytesMin, part++) {
    const body = await bodyOf(bytes.subarray(at, at + limits.partBytesMin));
    parts.push({ part, etag: await store.uploadPart(bucket, key, upload, part, body) });
  }
  await store.completeMultipartUpload(bucket, key, upload, parts);
}

/** Puts the bytes under a name of another bucket first, which is gone again in the end. */
async function copied(store: SqliteR2Store, bucket: string, key: string, bytes: Buffer): Promise<void> {
  const { id } = await store.getBucket(sourcesRef);
  await store.put(id, key, await bodyOf(bytes));
  await store.copy({ bucketId: id, key }, { bucketId: bucket, key });
  await store.delete(id, [key]);
}

async function perform(store: SqliteR2Store, bucket: string, { key, name, kind, size }: Operation): Promise<void> {
  const bytes = bytesFor(name, size);
  if (kind === "small") await store.put(bucket, key, bytes);
  else if (kind === "large") await store.put(bucket, key, await bodyOf(bytes));
  else if (kind === "copy") await copied(store, bucket, key, bytes);
  else if (kind === "multipart") await multipart(store, bucket, key, bytes);
  else await store.delete(bucket, [key]);
}

function choose(key: string, name: string): Operation {
  const draw = Math.random();
  const size = (from: number, to: number) => from + Math.floor(Math.random() * (to - from));
  if (draw < 0.45) return { key, name, kind: "small", size: size(0, limits.inlineBytes) };
  if (draw < 0.8) return { key, name, kind: "large", size: size(limits.inlineBytes + 1, 500_000) };
  if (draw < 0.85) return { key, name, kind: "multipart", size: limits.partBytesMin + size(1, 200_000) };
  if (draw < 0.92) return { key, name, kind: "copy", size: size(limits.inlineBytes + 1, 500_000) };
  return { key, name, kind: "delete", size: 0 };
}

/** Eight callers, each with keys of its own, one call at a time: `start` before a call, `ack` after it. */
async function writeAtRandom(store: SqliteR2Store, round: string): Promise<never> {
  const { id } = await store.getBucket(bucketRef);
  const caller = async (number: number): Promise<never> => {
    for (let n = 0; ; n++) {
      const operation = choose(`key ${number}-${n % 3}`, `${round}-${number}-${n}`);
      say(`start ${JSON.stringify(operation)}`);
      await perform(store, id, operation);
      say(`ack ${operation.name}`);
    }
  };
  return Promise.race(Array.from({ length: 8 }, (_, number) => caller(number)));
}

/** Everything that the store asks of the disk and of the writer thread passes `step` first. */
async function watchSteps(folder: string, step: () => void): Promise<void> {
  const handle = await fs.open(folder);
  watch(Object.getPrototypeOf(handle) as object, ["write", "datasync", "sync", "close"], step);
  await handle.close();
  watch(fs, ["open", "link", "rename", "unlink"], step);
  watch(Worker.prototype, ["postMessage"], step);
  syncBuiltinESMExports();
}

function watch(target: object, methods: readonly string[], step: () => void): void {
  for (const method of methods) {
    const run = Reflect.get(target, method) as (...args: unknown[]) => unknown;
    Reflect.set(target, method, function stepped(this: unknown, ...args: unknown[]) {
      step();
      return run.apply(this, args);
    });
  }
}

/** Brings the store to where the step begins: small and large objects under `k`, or an upload with a part. */
async function prepare(store: SqliteR2Store, bucket: string, scenario: StepScenario): Promise<() => Promise<unknown>> {
  const large = bytesFor("old", 300_000);
  const fresh = bytesFor("new", 400_000);
  await store.put(bucket, "k", scenario === "put over small" ? large.subarray(0, 1000) : large);
  if (scenario === "delete") return () => store.delete(bucket, ["k"]);
  if (scenario === "put over large" || scenario === "put over small") {
    return async () => store.put(bucket, "k", await bodyOf(fresh));
  }
  if (scenario === "copy") {
    await store.put(bucket, "from", fresh);
    return () => store.copy({ bucketId: bucket, key: "from" }, { bucketId: bucket, key: "k" });
  }
  const upload = await store.createMultipartUpload(bucket, "k");
  const etag = await store.uploadPart(bucket, "k", upload, 1, fresh);
  if (scenario === "part") return () => store.uploadPart(bucket, "k", upload, 1, large);
  return () => store.completeMultipartUpload(bucket, "k", upload, [{ part: 1, etag }]);
}

async function main([mode, folder = "", detail = "", last = "0"]: string[]): Promise<void> {
  let armed = false;
  let steps = 0;
  if (mode === "step") {
    await watchSteps(folder, () => {
      if (armed && ++steps === Number(last)) process.kill(process.pid, "SIGKILL");
    });
  }
  const { openR2Store } = await import("#products/r2/sqlite-store.ts");
  const store = await openR2Store(paths(folder));
  if (mode === "random") await writeAtRandom(store, detail);
  await store.swept;
  const { id } = await store.createBucket(bucketRef);
  const run = await prepare(store, id, detail as StepScenario);
  armed = true;
  await run();
  say("answered");
  await store.close();
  say("closed");
}

// The parent imports names from here; the process is this file run by itself.
if (process.argv[1] === import.meta.filename) {
  const alive = setInterval(() => {}, 1000);
  await main(process.argv.slice(2));
  clearInterval(alive);
}
