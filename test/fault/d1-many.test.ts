import { readFileSync, readdirSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { newUuid } from "#core/ids.ts";
import { d1Hosts } from "#products/d1/host-client.ts";
import { limits } from "#products/d1/limits.ts";
import { startD1Host, testFolders, testKey, type TestProcess } from "../support/d1-host.ts";

/**
 * Many databases that are all in use: a host keeps `limits.openDatabases` of them open, so its memory must not follow their
 * number. `D1_DATABASES` says how many, and with it the memory is held to 10 %: 2,000 take about a minute.
 */
const long = process.env["D1_DATABASES"] !== undefined;
const wanted = Number(process.env["D1_DATABASES"] ?? 160);
const few = 100;
const tables = Array.from({ length: 10 }, (_, n) => `CREATE TABLE t${n} (id INTEGER PRIMARY KEY, x TEXT)`).join("; ");

const folders = testFolders();
const hosts = d1Hosts({ socketOf: folders.runtime.d1Host, capabilityKey: testKey, scope: "control" });
const places: { host: number; id: string }[] = [];
let host: TestProcess;
beforeAll(async () => {
  host = await startD1Host(folders);
});
afterAll(async () => {
  hosts.close();
  await host.kill();
  folders.remove();
});

test(
  `memory and descriptors of ${wanted} databases with 10 tables each are those of ${few}`,
  { timeout: 60_000 + wanted * 200 },
  async () => {
    await createUpTo(few);
    const before = await figuresUnderUse();
    await createUpTo(wanted);
    const after = await figuresUnderUse();
    // oxlint-disable-next-line no-console -- the figures are what one wants to know of a run
    console.info(`${few} databases:`, before, `${wanted}:`, after);
    // An open database has its file, its log and the log's index, and one that is being closed still has them.
    expect(after.descriptors).toBeLessThan(before.descriptors + limits.openDatabases);
    if (long) expect(after.privateMB).toBeLessThanOrEqual(before.privateMB * 1.1);
  },
);

async function createUpTo(count: number): Promise<void> {
  while (places.length < count) {
    const place = { host: 0, id: newUuid() };
    await hosts.create(place);
    await hosts.queryObjects(place, [{ sql: `${tables}; INSERT INTO t0 VALUES (1, '${place.id}')` }]);
    places.push(place);
  }
}

/** Asks as many times whatever the number of databases is, each at least once, 8 at a time. */
async function figuresUnderUse(): Promise<{ privateMB: number; descriptors: number }> {
  let asked = 0;
  const rounds = Math.ceil(wanted / few) * few;
  const ask = async () => {
    while (asked < rounds) {
      const place = places[asked++ % places.length] ?? expect.unreachable();
      const [found] = await hosts.queryColumns(place, [{ sql: "SELECT x FROM t0 WHERE id = 1" }]);
      expect(found?.results.rows).toEqual([[place.id]]);
    }
  };
  await Promise.all(Array.from({ length: 8 }, ask));
  const rollup = readFileSync(`/proc/${host.pid}/smaps_rollup`, "utf8");
  const kilobytes = ["Private_Clean", "Private_Dirty"].map((name) =>
    Number(new RegExp(`${name}: +(\\d+)`).exec(rollup)?.[1]),
  );
  return {
    privateMB: Math.round(kilobytes.reduce((a, b) => a + b) / 102.4) / 10,
    descriptors: readdirSync(`/proc/${host.pid}/fd`).length,
  };
}
