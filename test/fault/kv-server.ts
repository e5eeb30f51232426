import { join } from "node:path";
import { capabilityReader } from "#core/capability.ts";
import { createWireServer } from "#http/wire/server.ts";
import { kvBindingHandler } from "#products/kv/binding.ts";
import { EdgeCache } from "#products/kv/edge-cache.ts";
import { openKvStore } from "#products/kv/sqlite-store.ts";

/** The store behind its binding socket, for a test that slows this process's disk down. Ends with its standard input. */
process.stdin.resume().on("end", () => process.exit());
const [folder = "", key = ""] = process.argv.slice(2);
const store = await openKvStore({ file: join(folder, "kv.db"), values: join(folder, "kv") });
const { id } = await store.createNamespace("acme", "main");
const reader = capabilityReader(Buffer.from(key, "hex"), "w1");
await createWireServer(kvBindingHandler({ store, location: new EdgeCache(store).location("w1"), reader })).listen(
  join(folder, "state.sock"),
);
process.stdout.write(`${id}\n`);
