import type { Reader } from "#db/schema.ts";
import { existsSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { openForReading, statementCache } from "#db/connection.ts";
import { readPlaces } from "#products/durable-objects/store.ts";
import { readWorkflowPlaces } from "#products/workflows/store.ts";
import { readPublicHosts } from "#products/r2/public-hosts.ts";
import { readDesired } from "#products/workers/desired.ts";
import { previewOf, type Preview } from "#products/workers/previews.ts";
import { readSecrets } from "#products/workers/store.ts";
import { readDesiredZones } from "#products/zones/desired.ts";
import { accountLabels } from "#roles/addresses.ts";
import type { Desired } from "#runtime/supervisor.ts";

/** What the control database says, for the supervisor: a connection of its own that only reads. */
export function desiredReader(
  file: string,
  appDomain: string,
): {
  read(): Desired | undefined;
  /** Which version a host below the app domain previews now. */
  previewOf(host: string): Preview | undefined;
  firstAccount(): string;
  close(): void;
} {
  let opened: { db: DatabaseSync; reader: Reader } | undefined;
  /** What was read last, and the state of the file that it was read from. */
  let last: { dataVersion: number; desired: Desired } | undefined;
  const open = (): Reader | undefined => {
    if (!opened && existsSync(file)) {
      const db = openForReading(file);
      opened = { db, reader: { prepare: statementCache(db) } };
    }
    return opened?.reader;
  };
  return {
    read() {
      try {
        const reader = open();
        if (!reader) return undefined;
        // Changes with every commit of another connection (sqlite.org/pragma.html#pragma_data_version); asked before reading.
        const dataVersion = Number(reader.prepare("PRAGMA data_version").get()?.["data_version"]);
        if (last?.dataVersion !== dataVersion) last = { dataVersion, desired: readAll(reader) };
        return last.desired;
      } catch (error) {
        // The control process is just making its tables.
        if (error instanceof Error && /no such table|file is not a database|unable to open/.test(error.message))
          return undefined;
        throw error;
      }
    },
    previewOf(host) {
      const reader = open();
      return reader && previewOf(reader, host, { appDomain, accountLabels: readAccountLabels(reader) });
    },
    firstAccount() {
      return String(open()?.prepare("SELECT id FROM accounts ORDER BY created_on, id LIMIT 1").get()?.["id"] ?? "");
    },
    close: () => opened?.db.close(),
  };
}

function readAll(reader: Reader): Desired {
  const hosts = reader.prepare("SELECT DISTINCT host FROM d1_databases ORDER BY host").all();
  return {
    workers: readDesired(reader),
    accountLabels: readAccountLabels(reader),
    zones: readDesiredZones(reader),
    bucketHosts: readPublicHosts(reader),
    namespaces: [...readPlaces(reader), ...readWorkflowPlaces(reader)],
    d1Hosts: hosts.map((row) => Number(row["host"])),
    secretsOf: (versionId) => readSecrets(reader, versionId),
  };
}

function readAccountLabels(reader: Reader): Map<string, string | undefined> {
  const accounts = reader.prepare("SELECT id, subdomain FROM accounts ORDER BY created_on, id").all();
  return accountLabels(accounts.map((row) => ({ id: String(row["id"]), subdomain: String(row["subdomain"]) })));
}
