import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { Ingresses } from "#runtime/ingresses.ts";
import type { RoutingTable } from "#runtime/routes.ts";
import { startScript, stopProcess } from "../../test/support/child-process.ts";
import { FakeUpstream, response, type FakeHandler } from "../../test/support/fake-upstream.ts";
import { tableOf } from "../../test/support/ingress-rig.ts";
import { RawClient, readResponse, sendRaw } from "../../test/support/raw-client.ts";

/** Real ingress processes on one port, and the supervisor's door to them. */

const serveIngress = join(import.meta.dirname, "..", "..", "test", "support", "serve-ingress.ts");
const names = ["one", "two"] as const;
type Name = (typeof names)[number];

let folder: string;
let port: number;
let children: Map<Name, ChildProcess>;
let ingresses: Ingresses;
let app: FakeUpstream;
let generation: number;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "solum-in-"));
  port = await freePort();
  children = new Map();
  generation = 0;
  const services = {
    isReady: (name: string) => isUp(name as Name),
    pidOf: (name: string) => (isUp(name as Name) ? children.get(name as Name)?.pid : undefined),
    stop: async (name: string) => {
      const child = children.get(name as Name);
      if (child) await stopProcess(child);
    },
  };
  ingresses = new Ingresses(
    services,
    names.map((name) => ({ name, socket: join(folder, `${name}.sock`) })),
  );
  await Promise.all(names.map((name) => start(name)));
});

afterEach(async () => {
  for (const child of children.values()) await stopProcess(child);
  await app?.kill();
  rmSync(folder, { recursive: true, force: true });
});

test("every one serves a table that was acknowledged, and both get requests", async () => {
  await serve((connection) => connection.send(response("hello")));
  const answers = await Promise.all(Array.from({ length: 64 }, () => get()));
  expect(new Set(answers)).toEqual(new Set(["hello"]));
  const report = await ingresses.open();
  expect(report.targets["t-app"]).toMatchObject({ requests: 0, requestsStarted: 64 });
  expect(report.targets["t-app"]?.lastUsedAgoMs).toBeLessThan(60_000);
  // 64 connections over two listeners: that all of them go to one has a chance of 1 in 2^63.
  const started = await Promise.all(names.map(startedAt));
  expect(started.every((count) => count > 0)).toBe(true);
});

test("what is open is the sum of all", async () => {
  await serve(() => {});
  const clients = await Promise.all(Array.from({ length: 32 }, () => RawClient.to(port)));
  for (const client of clients) client.write("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
  await pollUntil({ ms: 10_000, everyMs: 2, what: "all to be asked" }, () => app.heads.length === 32 || undefined);
  expect(await ingresses.open(app.path)).toMatchObject({ requests: 32, connections: 32 });
  expect(await ingresses.open("/another.sock")).toMatchObject({ requests: 0, targets: {} });
  for (const client of clients) client.abort();
});

test("one that is killed takes only its own connections with it, and comes back with the newest table", async () => {
  await serve((connection) => connection.send(response("old")));
  await kill("one");
  await route({ app: [], other: [app.path] });
  for (let n = 0; n < 20; n++) expect(await get("other.localhost")).toBe("old");
  // Its own file is of before; the other's is of now.
  await start("one");
  for (let n = 0; n < 20; n++) expect(await get("other.localhost")).toBe("old");
  expect(await route({ app: [app.path] })).toBe(true);
  for (let n = 0; n < 20; n++) expect(await get()).toBe("old");
});

test("nobody serves a table when none is up", async () => {
  await Promise.all(names.map(kill));
  expect(await ingresses.putTable("test", { generation: ++generation, ...tableOf({}) })).toBe(false);
  expect(await ingresses.open()).toMatchObject({ requests: 0, connections: 0 });
  await ingresses.condemn("/some.sock", "exceededCpu");
});

test("a table is sent once to each process", async () => {
  const table: RoutingTable = { generation: ++generation, ...tableOf({}) };
  expect(await ingresses.putTable("test", table)).toBe(true);
  rmSync(join(folder, "one.json"));
  expect(await ingresses.putTable("test", table)).toBe(true);
  expect(existsSync(join(folder, "one.json"))).toBe(false);
});

test("what breaks off at a condemned process says so, whichever took the request", async () => {
  await serve(() => {});
  const clients = await Promise.all(Array.from({ length: 16 }, () => RawClient.to(port)));
  for (const client of clients) client.write("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
  await pollUntil({ ms: 10_000, everyMs: 2, what: "all to be asked" }, () => app.heads.length === 16 || undefined);
  await ingresses.condemn(app.path, "exceededMemory");
  await app.kill();
  for (const client of clients) {
    await client.until((text) => text.includes("ray:"));
    expect(client.received).toMatch(/^HTTP\/1.1 503 [^]*Worker exceeded resource limits[^]*error code: 1102/);
    client.abort();
  }
});

test("a stop lets what is open end in all of them", async () => {
  await serve(() => {});
  const clients = await Promise.all(Array.from({ length: 16 }, () => RawClient.to(port)));
  for (const client of clients) client.write("GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n");
  await pollUntil({ ms: 10_000, everyMs: 2, what: "all to be asked" }, () => app.heads.length === 16 || undefined);
  const stopped = ingresses.stop(10_000);
  for (const connection of app.connections) connection.send(response("late"));
  for (const client of clients) {
    await client.closed();
    expect(readResponse(client.received).body).toBe("late");
  }
  await stopped;
  expect(names.some(isUp)).toBe(false);
});

async function serve(onHead: FakeHandler): Promise<void> {
  app = await FakeUpstream.listen(join(folder, "app.sock"), onHead);
  expect(await route({ app: [app.path] })).toBe(true);
}

async function route(workers: Record<string, string[]>): Promise<boolean> {
  return await ingresses.putTable("test", { generation: ++generation, ...tableOf(workers) });
}

async function get(host = "app.localhost"): Promise<string> {
  return readResponse(await sendRaw(port, `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)).body;
}

async function startedAt(name: Name): Promise<number> {
  const received = await sendRaw(
    join(folder, `${name}.sock`),
    "GET /open HTTP/1.1\r\nHost: ingress\r\nConnection: close\r\n\r\n",
  );
  return (
    (JSON.parse(readResponse(received).body) as { targets: Record<string, { requestsStarted: number }> }).targets[
      "t-app"
    ]?.requestsStarted ?? 0
  );
}

async function start(name: Name): Promise<void> {
  const siblingRoutes = names.filter((other) => other !== name).map((other) => join(folder, `${other}.json`));
  const { child } = await startScript(serveIngress, {
    folder,
    name,
    port,
    sharesPort: true,
    drainMs: 10_000,
    siblingRoutes,
  });
  children.set(name, child);
}

async function kill(name: Name): Promise<void> {
  const child = children.get(name);
  if (!child) return;
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}

function isUp(name: Name): boolean {
  const child = children.get(name);
  return child !== undefined && child.exitCode === null && child.signalCode === null;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address ? address.port : 0;
}
