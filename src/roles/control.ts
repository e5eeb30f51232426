import { chmod, mkdir, rm } from "node:fs/promises";
import { once } from "node:events";
import { join } from "node:path";
import { createAdaptorServer } from "@hono/node-server";
import { buildApi } from "#api.ts";
import { openDatabase } from "#db/database.ts";
import { storeClient } from "#http/store-rpc.ts";
import { createWireServer } from "#http/wire/server.ts";
import { accountStore } from "#products/accounts/store.ts";
import { d1Hosts } from "#products/d1/host-client.ts";
import { d1Imports } from "#products/d1/imports.ts";
import { d1Store } from "#products/d1/store.ts";
import { remoteKvStore } from "#products/kv/remote.ts";
import { logHandler } from "#products/logs/binding.ts";
import { createLogStore } from "#products/logs/store.ts";
import { queueStore } from "#products/queues/store.ts";
import { remoteR2Store } from "#products/r2/remote.ts";
import { assetStore } from "#products/workers/assets.ts";
import { blobStore } from "#products/workers/blobs.ts";
import { releases } from "#products/workers/releases.ts";
import { workerStore } from "#products/workers/store.ts";
import { consolePage } from "#roles/console-page.ts";
import { reservedNames, workerAddress } from "#roles/addresses.ts";
import { readKeys, readToken } from "#roles/keys.ts";
import { openRole, serveUntilTold } from "#roles/role.ts";
import { uploadResources } from "#roles/upload-resources.ts";
import { egressExplainHandler, egressExplainPath } from "#runtime/egress-explain.ts";
import { supervisorClient } from "#runtime/supervisor-client.ts";
import { serveEachWorker } from "#runtime/worker-folders.ts";

/** The API and the console; the only writer of the control database. */
export async function runControl(runtimeFolder: string): Promise<void> {
  const { config, data, runtime } = await openRole(runtimeFolder);
  const keys = await readKeys(data);
  await rm(data.staging, { recursive: true, force: true });
  for (const folder of [data.control, data.staging, data.blobs, data.assetTrees]) await mkdir(folder, { recursive: true, mode: 0o700 });
  const db = await openDatabase(data.controlDb, ["accounts", "workers", "queues", "d1"]);
  const accounts = accountStore(db);
  await accounts.ensureFirst(await readToken(data));

  const deployer = supervisorClient(runtime.supervisor);
  const stores = storeClient(runtime.stores);
  const kv = remoteKvStore(stores);
  const r2 = remoteR2Store(stores);
  const hosts = d1Hosts({ socketOf: runtime.d1Host, capabilityKey: keys.capability, scope: "control" });
  const d1 = d1Store(db, withStartedHosts(hosts, (host) => deployer.startD1Host(host)), config.d1Hosts);
  const imports = d1Imports({ store: d1, staging: join(data.control, "imports"), uploadUrl: (token) => `${apiRoot(config)}/d1/imports/${token}` });
  const workers = workerStore(db);
  const blobs = blobStore(data);
  const assets = assetStore({ db, blobs, layout: data, key: keys.assets });
  const resources = uploadResources({ kv, r2, d1, workers });
  const { unsupportedBindings, workerBytes } = config;
  const logs = createLogStore();

  const api = buildApi({
    accounts,
    kv,
    r2,
    d1,
    d1Imports: imports,
    queues: queueStore(db),
    logs,
    workers: {
      store: workers,
      assets,
      reservedNames,
      workerBytes,
      address: await workerAddress(config, accounts),
      releases: releases({ store: workers, blobs, assets, resources, deployer, sealKey: keys.seal, unsupportedBindings, reservedNames }),
    },
  });
  api.get("/", (c) => c.html(consolePage(config)));

  const sockets = await serveEachWorker(runtime.workers, async (workerId, folder) => {
    const takeLogs = logHandler({ capabilityKey: keys.capability, workerId, store: logs });
    const explain = egressExplainHandler({ capabilityKey: keys.capability, workerId, rules: egressRules(config) });
    const server = createWireServer((request) => (request.target === egressExplainPath ? explain(request) : takeLogs(request)));
    await server.listen(join(folder, "log.sock"));
    return server;
  });
  const server = createAdaptorServer({ fetch: api.fetch });
  await rm(runtime.control, { force: true });
  server.listen(runtime.control);
  await once(server, "listening");
  await chmod(runtime.control, 0o600);

  await serveUntilTold("control", async () => {
    server.close();
    await sockets.close();
    await db.close();
  });
}
