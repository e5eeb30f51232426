import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { afterAll, beforeAll, expect, test } from "vitest";
import { newUuid } from "#core/ids.ts";
import { d1Hosts } from "#products/d1/host-client.ts";
import {
  getText,
  startD1Host,
  startD1Worker,
  testFolders,
  testKey,
  type TestProcess,
} from "../../../test/support/d1-host.ts";

const casesFolder = join(import.meta.dirname, "../../../test/fixtures/d1-cases");

/** The main module first. */
const modules = ["worker.js", ...readdirSync(casesFolder).filter((name) => name !== "worker.js")];

type Seen = { name: string; got: unknown; expected: unknown };

const folders = testFolders();
const hosts = d1Hosts({ socketOf: folders.runtime.d1Host, capabilityKey: testKey, scope: "control" });
const running: TestProcess[] = [];

beforeAll(async () => {
  running.push(await startD1Host(folders));
});
afterAll(async () => {
  hosts.close();
  await Promise.all(running.map((process) => process.kill()));
  folders.remove();
});

test("a Worker sees what it would see on Cloudflare", async () => {
  const databaseId = newUuid();
  await hosts.create({ host: 0, id: databaseId });
  const texts = Object.fromEntries(modules.map((name) => [name, readFileSync(join(casesFolder, name), "utf8")]));
  const worker = await startD1Worker(folders, { modules: texts, databaseId });
  running.push(worker);
  const seen = JSON.parse((await getText(worker.socket, "/run")).text) as Seen[];
  expect(seen.length).toBeGreaterThan(100);
  for (const { name, got, expected } of seen) expect.soft(got, name).toEqual(expected);
});

test("miniflare differs only where we know it", async () => {
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      modules: modules.map((name) => ({ type: "ESModule" as const, path: join(casesFolder, name) })),
      modulesRoot: casesFolder,
      compatibilityDate: "2026-08-01",
      d1Databases: { DB: "cases" },
    }),
  );
  try {
    const response = await miniflare.dispatchFetch("http://localhost/run");
    const seen = (await response.json()) as Seen[];
    const differing = seen.filter(({ got, expected }) => !isDeepStrictEqual(got, expected));
    expect(differing.map(({ name }) => name)).toEqual([
      // No region and no colo, which Cloudflare's types have.
      "meta has the members of the type D1Meta",
      // It refuses what is only a comment; Cloudflare's own engine for workerd skips it.
      "exec skips empty lines and comments",
      "only a comment",
      // It lets pass what D1's limits forbid.
      "a text over 2 MB",
      "a text over 2 MB of bytes",
      "a blob over 2 MB",
      "a row over 2 MB",
      "a result over 2 MB",
      "a row that was refused is not there",
      // It counts the last statement only.
      "rows: several statements are counted together",
    ]);
  } finally {
    await miniflare.dispose();
  }
}, 60_000);
