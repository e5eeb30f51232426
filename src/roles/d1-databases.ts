import { d1DownloadPath, d1UploadPath } from "#api.ts";
import type { Config } from "#config.ts";
import type { DataLayout, RuntimeLayout } from "#core/layout.ts";
import { createLogger } from "#core/log.ts";
import type { Database } from "#db/database.ts";
import { d1Analytics, type D1Analytics } from "#products/d1/analytics.ts";
import { databaseFile } from "#products/d1/database-files.ts";
import { d1Exports, type D1Exports } from "#products/d1/exports.ts";
import { d1Hosts, type Place } from "#products/d1/host-client.ts";
import { d1Imports, type D1Imports } from "#products/d1/imports.ts";
import { Moves } from "#products/d1/moves.ts";
import { watchSlowQueries } from "#products/d1/slow-queries.ts";
import { d1Store, type D1Store } from "#products/d1/store.ts";

/** How long a d1 host may take to start. */
const hostStartMs = 10_000;

/** Between looks for files of deleted databases. */
const sweepMs = 5 * 60 * 1000;
/** Between looks at what databases have done. */
const collectMs = 60_000;

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
  /** Where the API is. */
  api: string;
}): { store: D1Store; imports: D1Imports; exports: D1Exports; analytics: D1Analytics; stop(): Promise<void> } {
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
  const exports = d1Exports({
    staging: data.imports,
    fileOf: ({ host, id }) => databaseFile(data.d1Host(host), id),
    downloadUrl: (token) => `${parts.api}${d1DownloadPath}/${token}`,
  });
  const moves = new Moves({ db, hosts, data, interrupt: (id) => exports.interrupt(id), startHost });
  void moves.resume().catch((error: unknown) => log.error("a move of a database could not be finished", { error }));
  const watching = watchSlowQueries({
    db,
    data,
    moves,
    ask: (host, signal) => hosts.ready(host, signal),
    hosts: { shared: config.d1Hosts, all: config.d1Hosts + config.d1OwnHosts },
    startHost,
  });
  const store = d1Store(db, { ...hosts, create }, config.d1Hosts);
  const analytics = d1Analytics(db, hosts);
  const intervals = [every(sweepMs, () => store.sweep()), every(collectMs, () => analytics.collect())];
  return {
    store,
    imports: d1Imports({
      store,
      staging: data.imports,
      uploadUrl: (token) => `${parts.api}${d1UploadPath}/${token}`,
    }),
    exports,
    analytics,
    async stop() {
      for (const interval of intervals) clearInterval(interval);
      await watching.stop();
      hosts.close();
    },
  };
}

function every(ms: number, work: () => Promise<void>): NodeJS.Timeout {
  return setInterval(() => {
    work().catch((error: unknown) => log.error("work in the background failed", { error }));
  }, ms);
}
