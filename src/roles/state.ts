import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { capabilityReader } from "#core/capability.ts";
import { processVariable } from "#environment.ts";
import { eventCaller } from "#http/event-call.ts";
import { storeHandler } from "#http/store-rpc.ts";
import { createWireServer } from "#http/wire/server.ts";
import { isKvRequest, kvBindingHandler } from "#products/kv/binding.ts";
import { EdgeCache } from "#products/kv/edge-cache.ts";
import { kvMethods } from "#products/kv/remote.ts";
import { openKvStore } from "#products/kv/sqlite-store.ts";
import { isQueueRequest, queueBindingHandler } from "#products/queues/binding.ts";
import { deliverBy } from "#products/queues/delivery.ts";
import { Dispatcher } from "#products/queues/dispatcher.ts";
import { queueMethods } from "#products/queues/remote.ts";
import { openQueueStore } from "#products/queues/sqlite-store.ts";
import { r2BindingHandler } from "#products/r2/binding.ts";
import { EventCourier } from "#products/r2/event-courier.ts";
import { r2PlatformHandler } from "#products/r2/platform.ts";
import { r2Methods, r2SettingsMethods } from "#products/r2/remote.ts";
import { openR2Store } from "#products/r2/sqlite-store.ts";
import { s3Host } from "#roles/addresses.ts";
import { readKeys } from "#roles/keys.ts";
import { openRole, serveUntilTold } from "#roles/role.ts";
import { serveEachWorker } from "#runtime/worker-folders.ts";

/** How long deliveries may go on once this process is told to stop; what has not ended then is delivered again. */
const deliveryGraceMs = 5000;

/** The stores: each Worker's bindings on a socket of its own, and the REST API's calls on one for the control process. */
export async function runState(runtimeFolder: string): Promise<void> {
  const { config, data, runtime } = await openRole(runtimeFolder);
  const keys = await readKeys(data);
  const capabilityKey = Buffer.from(processVariable("SOLUM_CAPABILITY_KEY"), "hex");
  await mkdir(data.state, { recursive: true, mode: 0o700 });
  const [kv, queues, r2] = await Promise.all([
    openKvStore({ file: data.kvDb, values: data.kvValues }),
    openQueueStore({ file: data.queuesDb }),
    openR2Store({ db: data.r2Db, blobs: data.r2Blobs, sealKey: keys.r2 }),
  ]);

  const edges = new EdgeCache(kv);
  const workers = await serveEachWorker(runtime.workers, async (workerId, folder) => {
    const reader = capabilityReader(capabilityKey, workerId);
    const kvHandler = kvBindingHandler({ store: kv, location: edges.location(workerId), reader });
    const queueHandler = queueBindingHandler({ store: queues, reader });
    const r2Handler = r2BindingHandler({ store: r2, reader });
    const server = createWireServer((request) => {
      if (isKvRequest(request)) return kvHandler(request);
      return isQueueRequest(request) ? queueHandler(request) : r2Handler(request);
    });
    await server.listen(join(folder, "state.sock"));
    return server;
  });
  const s3 = createWireServer(r2PlatformHandler({ store: r2, appDomain: config.appDomain, endpoint: s3Host(config) }));
  await s3.listen(runtime.s3);
  const stores = createWireServer(
    storeHandler({
      kv: kvMethods(kv),
      queues: queueMethods(queues),
      r2: r2Methods(r2),
      r2Settings: r2SettingsMethods(r2.settings),
    }),
  );
  const events = eventCaller({ socket: runtime.events, timeMs: config.eventMs });
  const dispatcher = new Dispatcher(queues.push, deliverBy(events));
  const courier = new EventCourier(r2.events, async (boundQueueId, bodies) => {
    await queues.send(
      { boundQueueId },
      bodies.map((body) => ({ body, contentType: "json" as const })),
    );
  });
  await stores.listen(runtime.stores);

  await serveUntilTold("state", async () => {
    await courier.stop();
    await dispatcher.stop(deliveryGraceMs);
    events.close();
    await Promise.all([workers.close(), stores.close(), s3.close()]);
    await Promise.all([kv, queues, r2].map((store) => store[Symbol.asyncDispose]()));
  });
}
