import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { newUuid } from "#core/ids.ts";
import { openForReading } from "#db/connection.ts";
import { databaseFile } from "#products/d1/database-files.ts";
import { d1Hosts } from "#products/d1/host-client.ts";
import { killRounds } from "../support/kill-rounds.ts";
import { getText, startD1Host, startD1Worker, testFolders, testKey, type TestProcess } from "../support/d1-host.ts";

const kills = killRounds(12);
const writers = 4;

const folders = testFolders();
const hosts = d1Hosts({ socketOf: folders.runtime.d1Host, capabilityKey: testKey, scope: "control" });
const place = { host: 0, id: newUuid() };
let host: TestProcess;
let worker: TestProcess & { socket: string };

/** Each write is a batch of two rows: never only one of them may be there. */
const writer = `export default {
  async fetch(request, env) {
    const [, writer, number] = new URL(request.url).pathname.split("/").map(Number);
    if (!(writer >= 0)) return new Response("ready");
    const insert = env.DB.prepare("INSERT INTO writes (writer, number, half) VALUES (?, ?, ?)");
    try {
      await env.DB.batch([insert.bind(writer, number, 1), insert.bind(writer, number, 2)]);
      return new Response("written");
    } catch (error) {
      return new Response(error.message, { status: 500 });
    }
  },
};`;

beforeAll(async () => {
  host = await startD1Host(folders);
  await hosts.create(place);
  await hosts.queryObjects(place, [
    { sql: "CREATE TABLE writes (writer INTEGER, number INTEGER, half INTEGER, PRIMARY KEY (writer, number, half))" },
  ]);
  worker = await startD1Worker(folders, { modules: { "worker.js": writer }, databaseId: place.id });
});
afterAll(async () => {
  hosts.close();
  await worker.kill();
  await host.kill();
  folders.remove();
});

const manyRounds = { timeout: 60_000 + kills * 5000 };

test(
  `killing the host ${kills} times under ${writers} writers loses no acknowledged write and halves no batch`,
  manyRounds,
  async () => {
    const acknowledged = new Set<string>();
    const state = { lastSuccess: performance.now(), ending: false };
    const write = async (number: number) => {
      for (let n = 0; !state.ending; n++) {
        const { text } = await getText(worker.socket, `/${number}/${n}`);
        if (text !== "written") continue;
        acknowledged.add(`${number}/${n}`);
        state.lastSuccess = performance.now();
      }
    };
    const writing = Array.from({ length: writers }, (_, number) => write(number));
    const gaps: number[] = [];
    for (let kill = 0; kill < kills; kill++) {
      await delay(50 + Math.random() * 200);
      const before = acknowledged.size;
      await host.kill();
      const killedAt = performance.now();
      host = await startD1Host(folders);
      const after = await pollUntil({ ms: 5000, everyMs: 1, what: "the first write after a kill" }, () =>
        state.lastSuccess > killedAt ? state.lastSuccess - killedAt : undefined,
      );
      gaps.push(after);
      expect(acknowledged.size).toBeGreaterThan(before);
    }
    state.ending = true;
    await Promise.all(writing);

    const [rows] = await hosts.queryColumns(place, [
      { sql: "SELECT writer || '/' || number, count(*) FROM writes GROUP BY writer, number" },
    ]);
    expect(integrity()).toEqual(["ok"]);
    const found = new Map(rows?.results.rows.map(([name, halves]) => [String(name), Number(halves)]));
    expect([...acknowledged].filter((name) => !found.has(name))).toEqual([]);
    expect([...found].filter(([, halves]) => halves !== 2)).toEqual([]);
    // Guarantee G7: back within 2 seconds. Measured 76 to 221 ms, of which the longest were a busy machine's.
    expect(Math.max(...gaps)).toBeLessThan(2000);
  },
);

test("killing the host in the middle of an import leaves all of it or nothing", manyRounds, async () => {
  const rows = 20_000;
  const rounds = Math.max(6, Math.round(kills / 2));
  const seen = { whole: 0, nothing: 0 };
  for (let round = 0; round < rounds; round++) {
    const table = `imported_${round}`;
    const lines = Array.from({ length: rows }, (_, n) => `INSERT INTO ${table} VALUES (${n}, '${"x".repeat(50)}');\n`);
    const bytes = Buffer.from(`CREATE TABLE ${table} (n, text);\n${lines.join("")}`);
    const acknowledged = hosts.import(place, { stream: inPieces(bytes), bytes: bytes.length }).then(
      () => true,
      () => false,
    );
    // The first comes early enough for certain.
    await delay(round === 0 ? 5 : Math.random() * 250);
    await host.kill();
    host = await startD1Host(folders);
    const answered = await acknowledged;
    const [found] = await hosts.queryColumns(place, [
      { sql: `SELECT count(*) FROM sqlite_schema WHERE name = '${table}'` },
    ]);
    const exists = found?.results.rows[0]?.[0] === 1;
    if (answered) expect(exists).toBe(true);
    seen[exists ? "whole" : "nothing"]++;
    if (!exists) continue;
    const [counted] = await hosts.queryColumns(place, [{ sql: `SELECT count(*) FROM ${table}` }]);
    expect(counted?.results.rows).toEqual([[rows]]);
    expect(integrity()).toEqual(["ok"]);
  }
  // oxlint-disable-next-line no-console -- the figures are what one wants to know of a run
  console.info(`imports cut short by a kill, of ${rounds}:`, seen);
  expect(seen.nothing).toBeGreaterThan(0);
});

/** What SQLite says of the database's file, from a connection of its own. */
function integrity(): unknown[] {
  const db = openForReading(databaseFile(folders.data.d1Host(0), place.id));
  try {
    return db
      .prepare("PRAGMA integrity_check")
      .all()
      .map((row) => row["integrity_check"]);
  } finally {
    db.close();
  }
}

async function* inPieces(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 64 * 1024) yield bytes.subarray(at, at + 64 * 1024);
}
