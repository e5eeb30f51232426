import type { Config } from "#config.ts";
import type { DataLayout, RuntimeLayout } from "#core/layout.ts";
import { createLogger } from "#core/log.ts";
import type { Database } from "#db/database.ts";
import { d1Hosts, type Place } from "#products/d1/host-client.ts";
import { Moves } from "#products/d1/moves.ts";
import { watchSlowQueries } from "#products/d1/slow-queries.ts";
import { d1Store, type D1Store } from "#products/d1/store.ts";

/** How long a d1 host may take to start. */
const hostStartMs = 10_000;

const log = createLogger("d1.databases");

/** The D1 databases, their hosts, and what moves them from one to another. */
export function openD1(parts: {
  config: Config;
  data: DataLayout;
  runtime: RuntimeLayout;
  db: Database;
  capabilityKey: Buffer;
  /** Hosts start with their first database. */
  startProcess: (host: number) => Promise<void>;
}): { store: D1Store; stop(): Promise<void> } {
  const { config, data, runtime, db, capabilityKey } = parts;
  const hosts = d1Hosts({ socketOf: runtime.d1Host, capabilityKey, scope: "control" });
  const startHost = async (host: number) => {
    await parts.startProcess(host);
    await hosts.ready(host, AbortSignal.timeout(hostStartMs));
  };
  const create = async (place: Place) => {
    await startHost(place.host);
    await hosts.create(place);
  };
  const moves = new Moves({ db, hosts, data, startHost });
  void moves.resume().catch((error: unknown) => log.error("a move of a database could not be finished", { error }));
  const watching = watchSlowQueries({
    db,
    data,
    moves,
    ask: (host, signal) => hosts.ready(host, signal),
    hosts: { shared: config.d1Hosts, all: config.d1Hosts + config.d1OwnHosts },
    startHost,
  });
  return {
    store: d1Store(db, { ...hosts, create }, config.d1Hosts),
    async stop() {
      await watching.stop();
      hosts.close();
    },
  };
}
