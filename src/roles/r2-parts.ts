import type { Config } from "#config.ts";
import type { Database } from "#db/database.ts";
import type { StoreClient } from "#http/store-rpc.ts";
import type { QueueStore } from "#products/queues/store.ts";
import { publicHosts } from "#products/r2/public-hosts.ts";
import { remoteR2Settings, remoteR2Store } from "#products/r2/remote.ts";
import type { SettingParts } from "#products/r2/routes-settings.ts";
import { isPlatformHost } from "#products/zones/plans.ts";
import type { ZoneStore } from "#products/zones/store.ts";

/** R2's API: objects and settings in the state process, hosts of public buckets in the control database. */
export function r2Parts(options: {
  config: Config;
  db: Database;
  stores: StoreClient;
  queues: QueueStore;
  zones: ZoneStore;
  settle: () => Promise<void>;
}): SettingParts {
  const { config, db, stores, queues, zones, settle } = options;
  return {
    store: remoteR2Store(stores),
    settings: remoteR2Settings(stores),
    hosts: publicHosts(db),
    appDomain: config.appDomain,
    async zoneName(accountId, zoneId) {
      return (await zones.find([accountId], zoneId))?.name;
    },
    async hostIsTaken(accountId, host) {
      if (isPlatformHost(host, config)) return true;
      return (await zones.domains(accountId)).some(({ hostname }) => hostname === host);
    },
    async queueName(accountId, queueId) {
      return (await queues.get(accountId, queueId)).name;
    },
    settle,
  };
}
