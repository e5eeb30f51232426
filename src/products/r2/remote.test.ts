import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe } from "vitest";
import { storeClient, storeHandler } from "#http/store-rpc.ts";
import { createWireServer } from "#http/wire/server.ts";
import { r2Methods, remoteR2Store } from "#products/r2/remote.ts";
import { openR2Store } from "#products/r2/sqlite-store.ts";
import { r2StoreContract } from "#products/r2/store.contract.ts";

describe("the store in another process", () => {
  r2StoreContract(async () => {
    const path = mkdtempSync(join(tmpdir(), "solum-r2-remote-"));
    const store = await openR2Store({ db: join(path, "r2.db"), blobs: join(path, "r2"), sealKey: Buffer.alloc(32, 1) });
    const server = createWireServer(storeHandler({ r2: r2Methods(store) }));
    await server.listen(join(path, "s"));
    return {
      store: remoteR2Store(storeClient(join(path, "s"))),
      close: async () => {
        await server.close();
        await store.close();
        rmSync(path, { recursive: true });
      },
    };
  });
});
