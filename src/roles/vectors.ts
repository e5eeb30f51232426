import { once } from "node:events";
import { chmod, rm } from "node:fs/promises";
import { join } from "node:path";
import { createAdaptorServer } from "@hono/node-server";
import { capabilityReader } from "#core/capability.ts";
import { openDatabase } from "#db/database.ts";
import { processVariable } from "#environment.ts";
import { createApi } from "#http/app.ts";
import { createWireServer } from "#http/wire/server.ts";
import { vectorizeBindingHandler } from "#products/vectorize/binding.ts";
import { Graphs } from "#products/vectorize/graphs.ts";
import { findIdPath } from "#products/vectorize/remote.ts";
import { vectorizeRoutes } from "#products/vectorize/routes.ts";
import { vectorStore } from "#products/vectorize/store.ts";
import { openRole, serveUntilTold } from "#roles/role.ts";
import { serveEachWorker } from "#runtime/worker-folders.ts";

/** Vectorize: a process of its own, so that a search never delays the other stores. */
export async function runVectors(runtimeFolder: string): Promise<void> {
  const { config, data, runtime } = await openRole(runtimeFolder);
  const db = await openDatabase(data.vectorsDb, ["vectorize"]);
  const graphs = new Graphs(db, { folder: data.vectorGraphs, memoryBytes: config.vectorMemoryBytes });
  const store = vectorStore(db, graphs);
  const capabilityKey = Buffer.from(processVariable("SOLUM_CAPABILITY_KEY"), "hex");
  const workers = await serveEachWorker(runtime.workers, async (workerId, folder) => {
    const server = createWireServer(
      vectorizeBindingHandler({ store, reader: capabilityReader(capabilityKey, workerId) }),
    );
    await server.listen(join(folder, "vectors.sock"));
    return server;
  });
  const api = createApi();
  api.get("/ready", (c) => c.text("ready"));
  api.get(findIdPath, async (c) => {
    const index = await store
      .list(c.req.query("account") ?? "")
      .then((all) => all.find(({ name }) => name === c.req.query("name")));
    return c.json(index ? { id: index.id } : {});
  });
  api.route("/client/v4/accounts/:account_id/vectorize/v2/indexes", vectorizeRoutes(store));
  const server = createAdaptorServer({ fetch: api.fetch });
  await rm(runtime.vectors, { force: true });
  server.listen(runtime.vectors);
  await once(server, "listening");
  await chmod(runtime.vectors, 0o600);

  await serveUntilTold("vectors", async () => {
    await workers.close();
    server.close();
    await graphs.stop();
    await db.close();
  });
}
