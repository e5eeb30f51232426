import { afterEach } from "vitest";
import { moduleUpload, WorkersApi } from "../../../test/support/workers-api.ts";
import { workerStore } from "#products/workers/store.ts";
import { zoneStoreContract, type ZoneWorld } from "#products/zones/store.contract.ts";

const opened: WorkersApi[] = [];
afterEach(async () => {
  for (const api of opened.splice(0)) await api[Symbol.asyncDispose]();
});

/** The control database of an API that has deployed the Workers. */
zoneStoreContract(async (): Promise<ZoneWorld> => {
  const api = await WorkersApi.start();
  opened.push(api);
  for (const name of ["hello", "other"]) await api.put(name, moduleUpload());
  await api.put("hello", moduleUpload(), "theirs");
  const workers = workerStore(api.db);
  return {
    store: api.zones,
    anna: api.account,
    bert: api.stranger,
    hello: await workers.get(api.account, "hello"),
    other: await workers.get(api.account, "other"),
    stranger: await workers.get(api.stranger, "hello"),
    deleteWorker: ({ accountId, name }) => workers.delete(accountId, name),
  };
});
