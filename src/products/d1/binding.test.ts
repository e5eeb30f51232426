import { cpSync, readdirSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { once } from "node:events";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { afterAll, beforeAll, expect, test } from "vitest";
import { configText, embed } from "#core/capnp-text.ts";
import { newUuid } from "#core/ids.ts";
import { d1Piece } from "#products/d1/binding.ts";
import { d1Hosts } from "#products/d1/host-client.ts";
import { startD1Host, startWorkerd, testFolders, testKey, type TestProcess } from "../../../test/support/d1-host.ts";

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

/** The Worker of the cases with the binding `DB`, as a version's process has it; its socket. */
async function startWorker(databaseId: string): Promise<string> {
  const folder = join(folders.root, newUuid().slice(0, 8));
  cpSync(casesFolder, folder, { recursive: true });
  const piece = d1Piece({
    name: "DB",
    databaseId,
    host: 0,
    workerId: "w1",
    socket: folders.runtime.d1Host(0),
    capabilityKey: testKey,
  });
  const socket = join(folder, "s");
  const config = configText({
    services: [
      {
        name: "worker",
        worker: {
          modules: modules.map((name) => ({ name, esModule: embed(name) })),
          compatibilityDate: "2026-08-01",
          bindings: piece.bindings,
        },
      },
      ...piece.services,
    ],
    sockets: [{ name: "http", address: `unix:${socket}`, http: {}, service: "worker" }],
  });
  writeFileSync(join(folder, "config.capnp"), config);
  running.push(await startWorkerd(join(folder, "config.capnp"), socket));
  return socket;
}

async function get(socketPath: string): Promise<string> {
  const outgoing = request({ socketPath, path: "/run" });
  const answered = once(outgoing, "response");
  outgoing.end();
  const [response] = (await answered) as [NodeJS.ReadableStream];
  const pieces: Buffer[] = [];
  for await (const piece of response) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString();
}

test("a Worker sees what it would see on Cloudflare", async () => {
  const databaseId = newUuid();
  await hosts.create({ host: 0, id: databaseId });
  const seen = JSON.parse(await get(await startWorker(databaseId))) as Seen[];
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
