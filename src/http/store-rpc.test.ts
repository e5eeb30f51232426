import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ApiError } from "#core/errors.ts";
import { storeClient, storeHandler, type StoreClient } from "#http/store-rpc.ts";
import { createWireServer, type WireServer } from "#http/wire/server.ts";

let folder: string;
let server: WireServer;
let client: StoreClient;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "solum-rpc-"));
  server = createWireServer(
    storeHandler({
      test: {
        async refuse() {
          throw new ApiError(404, 10006, "not here");
        },
        async refuseLate({ body }) {
          for await (const _ of body) throw new ApiError(404, 10006, "not here");
          return { value: null };
        },
      },
    }),
  );
  await server.listen(join(folder, "s"));
  client = storeClient(join(folder, "s"));
});
afterEach(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

async function* megabytes(count: number): AsyncGenerator<Uint8Array> {
  for (let n = 0; n < count; n++) yield Buffer.alloc(1_000_000);
}

test.each(["refuse", "refuseLate"])(
  "a call whose body is not wanted gets its error, not a broken pipe (%s)",
  async (method) => {
    for (let n = 0; n < 20; n++) {
      await expect(client.call("test", method, {}, { body: megabytes(5) })).rejects.toMatchObject({ code: 10006 });
    }
  },
);
