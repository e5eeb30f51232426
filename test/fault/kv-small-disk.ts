import { join } from "node:path";
import { spawnSync } from "node:child_process";
import { ApiError, messageOf } from "#core/errors.ts";
import { openKvStore } from "#products/kv/sqlite-store.ts";

/**
 * What the KV store does on a disk of a few megabytes, which is mounted at the folder given as the first argument, in a mount
 * namespace of this process: fills it, makes room, goes on, and is then opened on the same disk mounted read-only. Prints JSON.
 */
const [folder = ""] = process.argv.slice(2);
const open = () => openKvStore({ file: join(folder, "kv.db"), values: join(folder, "kv") });
const text = (n: number, bytes: number) => Buffer.alloc(bytes, `${n};`);

const store = await open();
const { id } = await store.createNamespace("acme", "main");
const space = { boundNamespaceId: id };
const written: { key: string; n: number; bytes: number }[] = [];
const refusals = new Set<string>();
const put = async (key: string, n: number, bytes: number) => {
  try {
    await store.put(space, key, { body: text(n, bytes) });
    written.push({ key, n, bytes });
    return true;
  } catch (error) {
    refusals.add(error instanceof ApiError ? `${error.status} ${error.code} ${error.message}` : messageOf(error));
    return false;
  }
};
const wrong = async () => {
  let differing = 0;
  for (const { key, n, bytes } of written) {
    const { body } = (await store.get(space, key)) ?? {};
    const pieces: Uint8Array[] = [];
    if (body instanceof Uint8Array) pieces.push(body);
    else for await (const piece of body ?? []) pieces.push(piece);
    if (Buffer.compare(Buffer.concat(pieces), text(n, bytes)) !== 0) differing++;
  }
  return differing;
};

let n = 0;
let full = 0;
while (full < 20) if (!(await put(`k${n}`, n, n++ % 5 === 0 ? 1_200_000 : 50_000))) full++;
const whileFull = { written: written.length, wrong: await wrong() };
const gone = written.splice(0, Math.ceil(written.length / 2));
await store.deleteMany(
  space,
  gone.map(({ key }) => key),
);
let attempts = 0;
while (!(await put("after", 1, 50_000)) && attempts++ < 100) await new Promise((resolve) => setTimeout(resolve, 100));
const afterwards = { written: written.some(({ key }) => key === "after"), wrong: await wrong() };
await store[Symbol.asyncDispose]();

spawnSync("mount", ["-o", "remount,ro", folder]);
const readOnly = await open().then(
  () => "opened",
  (error: unknown) => messageOf(error),
);
process.stdout.write(JSON.stringify({ refusals: [...refusals], whileFull, afterwards, readOnly }));
process.exit(0);
