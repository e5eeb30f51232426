import { writeSync } from "node:fs";
import { join } from "node:path";
import { openKvStore } from "#products/kv/sqlite-store.ts";
import { write } from "../support/kv-durability.ts";

/**
 * Writes without end, until it is killed. For each write it says `s <writer> <n>` before it starts and `a <writer> <n>` once
 * it was answered; `writeSync`, so that what was said is out before anything can happen.
 */
const [folder = "", namespaceId = "", first = "1"] = process.argv.slice(2);
// The writer thread alone does not keep a process alive.
setInterval(() => {}, 60_000);
const store = await openKvStore({ file: join(folder, "kv.db"), values: join(folder, "kv") });
const space = { boundNamespaceId: namespaceId };

async function writeForEver(id: number): Promise<never> {
  for (let n = Number(first); ; n++) {
    writeSync(1, `s ${id} ${n}\n`);
    await write(store, space, { id }, n);
    writeSync(1, `a ${id} ${n}\n`);
  }
}

await Promise.all(Array.from({ length: 8 }, (_, id) => writeForEver(id)));
