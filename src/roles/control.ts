import { chmod, mkdir, rm } from "node:fs/promises";
import { once } from "node:events";
import { join } from "node:path";
import { createAdaptorServer } from "@hono/node-server";
import { buildApi } from "#api.ts";
import type { Config } from "#config.ts";
import type { DataLayout, RuntimeLayout } from "#core/layout.ts";
import { openDatabase, type Database } from "#db/database.ts";
import type { Api } from "#http/app.ts";
import { storeClient } from "#http/store-rpc.ts";
import { createWireServer } from "#http/wire/server.ts";
import { accountStore } from "#products/accounts/store.ts";
import { remoteKvStore } from "#products/kv/remote.ts";
import { logHandler } from "#products/logs/binding.ts";
import { createLogStore, type LogStore } from "#products/logs/store.ts";
import { tailSocketPath, tailSocketUrl, tailUpgrades } from "#products/logs/tail-socket.ts";
import { createTails } from "#products/logs/tails.ts";
import { remoteVectorIndexes } from "#products/vectorize/remote.ts";
import { remoteQueueStore } from "#products/queues/remote.ts";
import { assetStore } from "#products/workers/assets.ts";
import { blobStore } from "#products/workers/blobs.ts";
import { releases } from "#products/workers/releases.ts";
import { workerStore, type WorkerStore } from "#products/workers/store.ts";
import { zoneStore } from "#products/zones/store.ts";
import { consolePage } from "#roles/console-page.ts";
import { publicUrl, reservedNames, workerAddress, workersDevSubdomain } from "#roles/addresses.ts";
import { openCron } from "#roles/cron-parts.ts";
import { openD1 } from "#roles/d1-databases.ts";
import { egressRules } from "#roles/egress-rules.ts";
import { readKeys, readToken } from "#roles/keys.ts";
import { openRole, serveUntilTold } from "#roles/role.ts";
import { queueParts } from "#roles/queue-parts.ts";
import { r2Parts } from "#roles/r2-parts.ts";
import { objectStore } from "#products/durable-objects/store.ts";
import { openWorkflows } from "#roles/workflow-parts.ts";
import { uploadResources } from "#roles/upload-resources.ts";
import { egressExplainHandler, egressExplainPath } from "#runtime/egress-explain.ts";
import { supervisorClient, type SupervisorClient } from "#runtime/supervisor-client.ts";
import { serveEachWorker } from "#runtime/worker-folders.ts";

const hourMs = 60 * 60 * 1000;

/** The API and the console; the only writer of the control database. */
export async function runControl(runtimeFolder: string): Promise<void> {
  const { config, data, runtime } = await openRole(runtimeFolder);
  const keys = await readKeys(data);
  await prepareFolders(data);
  const db = await openDatabase(data.controlDb, [
    "accounts",
    "workers",
    "durable_objects",
    "workflows",
    "cron",
    "d1",
    "zones",
    "r2-hosts",
  ]);
  const accounts = accountStore(db);
  await accounts.ensureFirst(await readToken(data), workersDevSubdomain(config.appDomain));

  const deployer = supervisorClient(runtime.supervisor);
  const consoleUrl = publicUrl(config, config.consoleHost);
  const products = openProducts({ config, data, runtime, db, deployer, capabilityKey: keys.capability, consoleUrl });
  const { logs, tails, workers, cron, workflows, d1, kv, r2, queues, zones, resources } = products;
  const blobs = blobStore(data);
  const assets = assetStore({ db, blobs, layout: data, key: keys.assets });
  const { unsupportedBindings, workerBytes } = config;

  const api = buildApi({
    accounts,
    kv,
    r2,
    objects: { objects: products.objects, folderOf: ({ workerId, id }) => join(data.objectsOf(workerId), id) },
    d1: d1.store,
    d1Imports: d1.imports,
    d1Exports: d1.exports,
    d1Analytics: d1.analytics,
    queues: queueParts(queues, workers),
    logs,
    cron: cron.parts,
    workflows: workflows.parts,
    zones,
    tails: { store: tails, socketUrl: (key) => tailSocketUrl(consoleUrl, key) },
    ai: { socket: runtime.ai, start: async () => deployer.startOnDemand("ai") },
    vectors: { socket: runtime.vectors, start: products.startVectors },
    workers: {
      store: workers,
      assets,
      blobs,
      reservedNames,
      workerBytes,
      address: workerAddress(config, accounts),
      releases: releases({
        store: workers,
        blobs,
        assets,
        resources,
        queueConsumers: queues,
        deployer,
        sealKey: keys.seal,
        unsupportedBindings,
        keptAssetsMs: config.keptAssetsHours * hourMs,
        reservedNames,
      }),
    },
  });
  api.get("/", (c) => c.html(consolePage(consoleUrl)));

  const sockets = await serveLogSockets({ config, runtime, capabilityKey: keys.capability, logs });
  const server = await serveApi(api, runtime.control, tailUpgrades({ tails, logs }));

  await cron.start();
  await workflows.start();
  await serveUntilTold("control", async () => {
    cron.stop();
    workflows.stop();
    await d1.stop();
    server.close();
    tails.close();
    await sockets.close();
    await db.close();
  });
}

/** Every product, where the control process reaches it. */
function openProducts(options: {
  config: Config;
  data: DataLayout;
  runtime: RuntimeLayout;
  db: Database;
  deployer: SupervisorClient;
  capabilityKey: Buffer;
  consoleUrl: string;
}) {
  const { config, runtime, db, deployer, consoleUrl } = options;
  const stores = storeClient(runtime.stores);
  const kv = remoteKvStore(stores);
  const queues = remoteQueueStore(stores);
  const settle = async () => deployer.settle();
  const zones = { store: zoneStore(db, config), settle };
  const r2 = r2Parts({ config, db, stores, queues, zones: zones.store, settle });
  const startProcess = (host: number) => deployer.startD1Host(host);
  const d1 = openD1({ ...options, startProcess, api: `${consoleUrl}/client/v4` });
  const { logs, tails, workers } = withLogs(workerStore(db), (workerId) => deployer.tellListening(workerId));
  const cron = openCron({ db, socket: runtime.events, timeMs: config.eventMs });
  const objects = objectStore(db);
  const workflows = openWorkflows({ db, workers, wakeOwner: (workerId) => deployer.wakeOwner(workerId), settle });
  const startVectors = async () => deployer.startOnDemand("vectors");
  const vectors = remoteVectorIndexes(runtime.vectors, startVectors);
  const workflowStore = workflows.parts.store;
  const resources = uploadResources({
    kv,
    r2: r2.store,
    d1: d1.store,
    queues,
    workers,
    objects,
    vectors,
    workflows: workflowStore,
  });
  return {
    kv,
    queues,
    zones,
    r2,
    d1,
    logs,
    tails,
    workers,
    cron,
    objects,
    workflows,
    vectors,
    startVectors,
    resources,
  };
}

/** What lay there of uploads that an earlier process did not finish goes. */
async function prepareFolders(data: DataLayout): Promise<void> {
  for (const folder of [data.staging, data.imports]) await rm(folder, { recursive: true, force: true });
  for (const folder of [data.control, data.staging, data.imports, data.blobs, data.assetTrees])
    await mkdir(folder, { recursive: true, mode: 0o700 });
}

/** A socket for each Worker: its log events, and its questions about what it may not reach. */
async function serveLogSockets(options: {
  config: Config;
  runtime: RuntimeLayout;
  capabilityKey: Buffer;
  logs: LogStore;
}) {
  const { config, runtime, capabilityKey, logs } = options;
  return serveEachWorker(runtime.workers, async (workerId, folder) => {
    const takeLogs = logHandler({ capabilityKey, workerId, store: logs });
    const explain = egressExplainHandler({ capabilityKey, workerId, rules: egressRules(config) });
    const server = createWireServer((request) =>
      request.target === egressExplainPath ? explain(request) : takeLogs(request),
    );
    await server.listen(join(folder, "log.sock"));
    return server;
  });
}

/** The API on its socket. A request for a tail's WebSocket goes to `upgrade`; any other to switch protocols is answered as one that is not. */
async function serveApi(api: Api, path: string, upgrade: ReturnType<typeof tailUpgrades>) {
  const server = createAdaptorServer({
    fetch: api.fetch,
    serverOptions: { shouldUpgradeCallback: ({ url }) => url?.startsWith(tailSocketPath) ?? false },
  });
  server.on("upgrade", upgrade);
  await rm(path, { force: true });
  server.listen(path);
  await once(server, "listening");
  await chmod(path, 0o600);
  return server;
}

/** Logs, tails, and the store of Workers, which lets go of both when one is deleted. */
function withLogs(store: WorkerStore, tellListening: (workerId: string) => Promise<void>) {
  const logs = createLogStore(tellListening);
  const tails = createTails(logs);
  const workers: WorkerStore = {
    ...store,
    async delete(accountId, name) {
      const worker = await store.find(accountId, name);
      await store.delete(accountId, name);
      if (!worker) return;
      tails.removeAll(worker.id);
      logs.forget(worker.id);
    },
  };
  return { logs, tails, workers };
}
