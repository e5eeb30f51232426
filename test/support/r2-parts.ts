import type { SettingParts } from "#products/r2/routes-settings.ts";
import type { R2Settings } from "#products/r2/settings-store.ts";
import type { R2Store } from "#products/r2/store.ts";

/** What R2's API needs besides its store: one zone (`zone-1`, example.com), one queue (`queue-1`), and hosts in a map. */
export function r2TestParts(store: R2Store, settings: R2Settings): SettingParts & { claimed: Map<string, string> } {
  const claimed = new Map<string, string>();
  return {
    store,
    settings,
    claimed,
    hosts: {
      async claim({ host, bucketId }) {
        claimed.set(host, bucketId);
      },
      async release({ host }) {
        claimed.delete(host);
      },
    },
    appDomain: "localhost",
    zoneName: async (_account, id) => (id === "zone-1" ? "example.com" : undefined),
    hostIsTaken: async (_account, host) => host === "worker.example.com",
    async queueName(_account, id) {
      if (id !== "queue-1") throw new Error("no such queue");
      return "my-queue";
    },
    settle: async () => {},
  };
}
