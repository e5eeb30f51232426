import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openKvStore } from "#products/kv/sqlite-store.ts";
import { kvStoreContract } from "#products/kv/store.contract.ts";

kvStoreContract("the SQLite store", async (now) => {
  const folder = await mkdtemp(join(tmpdir(), "solum-kv-"));
  const store = await openKvStore({ file: join(folder, "kv.db"), values: join(folder, "kv"), now });
  return {
    store,
    async close() {
      await store[Symbol.asyncDispose]();
      await rm(folder, { recursive: true });
    },
  };
});
