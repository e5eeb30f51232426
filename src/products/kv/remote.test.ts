import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { storeClient, storeHandler } from "#http/store-rpc.ts";
import { createWireServer } from "#http/wire/server.ts";
import { kvMethods, remoteKvStore } from "#products/kv/remote.ts";
import { openKvStore } from "#products/kv/sqlite-store.ts";
import { kvStoreContract } from "#products/kv/store.contract.ts";

kvStoreContract("the store of another process", async (now) => {
  const folder = await mkdtemp(join(tmpdir(), "solum-kv-"));
  const store = await openKvStore({ file: join(folder, "kv.db"), values: join(folder, "kv"), now });
  const server = createWireServer(storeHandler({ kv: kvMethods(store) }));
  await server.listen(join(folder, "stores.sock"));
  return {
    store: remoteKvStore(storeClient(join(folder, "stores.sock"))),
    async close() {
      await server.close();
      await store[Symbol.asyncDispose]();
      await rm(folder, { recursive: true });
    },
  };
});
