import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { newUuid } from "#core/ids.ts";
import { d1Hosts } from "#products/d1/host-client.ts";
import { getText, startD1Host, startD1Worker, testFolders, testKey, type TestProcess } from "../support/d1-host.ts";

const kills = 12;
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

test(`killing the host ${kills} times under ${writers} writers loses no acknowledged write and halves no batch`, async () => {
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
    { sql: "SELECT writer || '/' || number, count(*) FROM writes GROUP BY writer, number; PRAGMA quick_check" },
  ]);
  const found = new Map(rows?.results.rows.map(([name, halves]) => [String(name), Number(halves)]));
  expect([...acknowledged].filter((name) => !found.has(name))).toEqual([]);
  expect([...found].filter(([, halves]) => halves !== 2)).toEqual([]);
  // Guarantee G7: back within 2 seconds. Measured 76 to 221 ms, of which the longest were a busy machine's.
  expect(Math.max(...gaps)).toBeLessThan(2000);
});
