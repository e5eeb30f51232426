import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil, sleep } from "#core/deadline.ts";
import { openForReading } from "#db/connection.ts";
import { dataLayout } from "#core/layout.ts";
import { Solum } from "../support/start-solum.ts";

/** One host for all databases that are not slow, so that they are in each other's way. */
let solum: Solum;
beforeAll(async () => {
  solum = await Solum.start("--d1-hosts", "1");
  const outcome = await solum.wrangler(solum.project("neighbours"), ["deploy"]);
  expect(outcome.code, outcome.output).toBe(0);
  for (const name of ["SLOW", "A", "B"]) await expectOk(name, "CREATE TABLE t (x)");
});
afterAll(() => solum[Symbol.asyncDispose]());

const run = (database: string, sql: string) =>
  solum.request("neighbours.localhost", `/${database}`, { method: "POST", body: sql });
const expectOk = async (database: string, sql: string) => {
  const answer = await run(database, sql);
  expect(answer.status, answer.text).toBe(200);
  return JSON.parse(answer.text) as Record<string, unknown>[];
};
const hostOf = (name: string) => {
  const db = openForReading(dataLayout(solum.data).controlDb);
  try {
    return Number(db.prepare("SELECT host FROM d1_databases WHERE name = ?").get(name)?.["host"]);
  } finally {
    db.close();
  }
};
const countTo = (n: number | bigint) =>
  `WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT ${n}) SELECT count(*) AS n FROM c`;
/** Longer than any limit. */
const endless = countTo(10n ** 15n);
const timeout = "D1 DB storage operation exceeded timeout which caused object to be reset.";

test("a query that holds up others is ended, and they go on where they were", async () => {
  const written: number[] = [];
  for (let n = 0; n < 20; n++) {
    await expectOk("A", `INSERT INTO t VALUES (${n})`);
    written.push(n);
  }
  const began = performance.now();
  const slow = run("SLOW", endless);
  await sleep(300);
  const waits = await Promise.all(
    ["A", "B", "A", "B"].map(async (name) => {
      const sent = performance.now();
      const [row] = await expectOk(name, "SELECT count(*) AS n FROM t");
      return { rows: Number(row?.["n"]), ms: performance.now() - sent };
    }),
  );
  expect(waits.map(({ rows }) => rows)).toEqual([20, 0, 20, 0]);
  const answer = await slow;
  expect(answer.text).toBe(`D1_ERROR: ${timeout}`);
  const longest = Math.max(...waits.map(({ ms }) => ms));
  // oxlint-disable-next-line no-console -- the figures are what one wants to know of a run
  console.info("an endless query:", { neighboursWaitedMs: longest, endedAfterMs: performance.now() - began });
  expect(longest).toBeLessThan(10_000);
  expect((await expectOk("A", "SELECT x FROM t ORDER BY x")).map(({ x }) => x)).toEqual(written);
  await pollUntil({ ms: 5000, everyMs: 20, what: "the move" }, () => (hostOf("slow-db") === 1 ? true : undefined));
  expect([hostOf("a-db"), hostOf("b-db")]).toEqual([0, 0]);
});

test("the database has a host of its own then, where its queries may take long", async () => {
  const place = async () => (await solum.api("GET", "/d1/database/slow-db")).json.result as { num_tables: number };
  expect((await place()).num_tables).toBe(1);
  await expectOk("SLOW", "INSERT INTO t VALUES (1)");
  const rowsPerMs = 1_000_000 / (await timed(() => expectOk("SLOW", countTo(1_000_000))));
  const state = { done: false };
  const long = timed(() => expectOk("SLOW", countTo(Math.round(rowsPerMs * 4000)))).finally(() => (state.done = true));
  let reads = 0;
  while (!state.done) {
    await expectOk("A", "SELECT count(*) FROM t");
    reads++;
  }
  expect(await long).toBeGreaterThan(1500);
  expect(reads).toBeGreaterThan(20);
});

test("a database whose query passes a second moves when it ends, and nothing is lost", async () => {
  const ids = (await solum.api("GET", "/d1/database")).json.result as { name: string; uuid: string }[];
  const id = ids.find(({ name }) => name === "b-db")?.uuid;
  const query = async (sql: string) => solum.api("POST", `/d1/database/${id}/query`, { sql });
  const rowsPerMs = 1_000_000 / (await timed(() => query(countTo(1_000_000))));
  const inserted: number[] = [];
  const state = { moved: false };
  const writing = (async () => {
    for (let n = 0; !state.moved; n++)
      if ((await run("B", `INSERT INTO t VALUES (${n})`)).status === 200) inserted.push(n);
  })();
  try {
    // How long a query takes here varies: too short does not count as slow, and too long is ended.
    let ms = 1300;
    for (let attempt = 0; attempt < 20 && hostOf("b-db") === 0; attempt++) {
      const { json } = await query(countTo(Math.round(rowsPerMs * ms)));
      if (!json.success) expect(json.errors).toEqual([{ code: 7500, message: timeout }]);
      ms *= json.success ? 1.15 : 0.85;
      await sleep(500);
    }
    expect(hostOf("b-db")).toBeGreaterThan(0);
    await sleep(200);
  } finally {
    state.moved = true;
    await writing;
  }
  const found = new Set((await expectOk("B", "SELECT x FROM t ORDER BY x")).map(({ x }) => Number(x)));
  expect(inserted.filter((n) => !found.has(n))).toEqual([]);
  expect((await query("PRAGMA quick_check")).json.result).toMatchObject([{ results: [{ quick_check: "ok" }] }]);
});

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}
