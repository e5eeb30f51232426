import { existsSync, readFileSync, statSync, writeFileSync, mkdirSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { dirname, join } from "node:path";
import { json } from "node:stream/consumers";
import { afterEach, describe, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { answering, FakeUpstream, response } from "../../test/support/fake-upstream.ts";
import { IngressRig, tableOf } from "../../test/support/ingress-rig.ts";

let rig: IngressRig;
afterEach(() => rig[Symbol.asyncDispose]());

const routesFile = () => join(rig.folder, "ingress", "routes.json");
const statusOf = async (name: string) => (await rig.get("/", [], `${name}.localhost`)).status;
const until = (ready: () => boolean) =>
  pollUntil({ ms: 10_000, everyMs: 2, what: "the condition" }, () => ready() || undefined);

/** One command on the supervisor's socket. */
async function admin(method: string, path: string, body?: unknown): Promise<{ status: number; body: unknown }> {
  return await new Promise((resolve, reject) => {
    const outgoing = httpRequest({ socketPath: join(rig.folder, "admin.sock"), method, path }, (incoming) => {
      json(incoming).then((answer) => resolve({ status: incoming.statusCode ?? 0, body: answer }), reject);
    });
    outgoing.on("error", reject);
    outgoing.end(body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body));
  });
}

describe("the last good table", () => {
  test("is on disk before it is acknowledged, and a restarted ingress serves from it", async () => {
    rig = await IngressRig.start();
    await using app = await FakeUpstream.listen(rig.socket("app"), answering("from disk"));
    await rig.route({ app: [app.path] });
    expect(JSON.parse(readFileSync(routesFile(), "utf8"))).toMatchObject({ format: 1, supervisor: "rig" });
    expect(statSync(routesFile()).mode & 0o777).toBe(0o600);
    rig = await rig.restart();
    expect(await rig.get("/")).toMatchObject({ body: "from disk" });
    // Generations count on after the restart.
    expect(await rig.ingress.putTable("rig", { generation: 0, ...tableOf({}) })).toBe(false);
    expect(await rig.get("/")).toMatchObject({ body: "from disk" });
  });

  test.each([
    ["empty", ""],
    ["cut off", '{"format":1,"supervisor":"rig","table":{"gen'],
    [
      "of another format",
      '{"format":2,"supervisor":"rig","table":{"generation":1,"hosts":{},"services":{},"targets":{}}}',
    ],
    [
      "no table",
      '{"format":1,"supervisor":"rig","table":{"generation":1,"hosts":{"a":{"kind":"evil"}},"services":{},"targets":{}}}',
    ],
    ["nested a thousand times", `{"format":1,"a":${"[".repeat(1000)}${"]".repeat(1000)}}`],
  ])("that is %s is passed over; the console is served all the same", async (_what, text) => {
    rig = await IngressRig.start();
    mkdirSync(dirname(routesFile()), { recursive: true });
    writeFileSync(routesFile(), text);
    rig = await rig.restart();
    expect(await statusOf("app")).toBe(404);
    await using console = await FakeUpstream.listen(rig.socket("console"), answering("console"));
    expect(await rig.get("/", [], "localhost")).toMatchObject({ body: "console" });
    expect(console.heads).toHaveLength(1);
    await rig.route({});
    expect(existsSync(routesFile())).toBe(true);
  });
});

describe("the supervisor's socket", () => {
  test("is for this user alone, and puts a table in force before it answers", async () => {
    rig = await IngressRig.start();
    expect(statSync(join(rig.folder, "admin.sock")).mode & 0o777).toBe(0o600);
    await using app = await FakeUpstream.listen(rig.socket("app"), answering("ok"));
    const table = { generation: 7, ...tableOf({ app: [app.path] }) };
    expect(await admin("PUT", "/table", { supervisor: "a", table })).toEqual({ status: 200, body: { generation: 7 } });
    expect(await statusOf("app")).toBe(200);
    expect(await admin("GET", "/ready")).toEqual({ status: 200, body: { ready: true, generation: 7 } });
    expect(await admin("GET", "/port")).toEqual({ status: 200, body: { port: rig.port } });
  });

  test("refuses an older table of the same supervisor, takes the same again, and any of another supervisor", async () => {
    rig = await IngressRig.start();
    const table = (generation: number) => ({ generation, ...tableOf({}) });
    expect(await admin("PUT", "/table", { supervisor: "a", table: table(5) })).toMatchObject({ status: 200 });
    expect(await admin("PUT", "/table", { supervisor: "a", table: table(4) })).toMatchObject({
      status: 409,
      body: { generation: 5 },
    });
    expect(await admin("PUT", "/table", { supervisor: "a", table: table(5) })).toMatchObject({ status: 200 });
    expect(await admin("PUT", "/table", { supervisor: "b", table: table(1) })).toMatchObject({
      status: 200,
      body: { generation: 1 },
    });
  });

  // scale-reliability-security, F18
  test.each([
    ["no JSON", "{"],
    ["a number", "7"],
    ["no supervisor", { table: { generation: 1, ...tableOf({}) } }],
    ["a generation that is no number", { supervisor: "a", table: { generation: "1", ...tableOf({}) } }],
    ["an unknown member", { supervisor: "a", table: { generation: 1, ...tableOf({}), extra: 1 } }],
    [
      "a socket path that is too long",
      { supervisor: "a", table: { generation: 1, ...tableOf({ app: [`/${"x".repeat(120)}`] }) } },
    ],
    [
      "a Worker id that leads out of its folder",
      {
        supervisor: "a",
        table: {
          generation: 1,
          hosts: {},
          patterns: [],
          services: {},
          targets: { t: { workerId: "../x", script: "s", versionId: "v", sockets: [] } },
        },
      },
    ],
  ])("refuses %s and keeps what it has", async (_what, body) => {
    rig = await IngressRig.start();
    await rig.fake(answering("kept"));
    expect(await admin("PUT", "/table", body)).toMatchObject({ status: 400 });
    expect(await rig.get("/")).toMatchObject({ body: "kept" });
  });

  test("tells what is open, in all and on one socket", async () => {
    rig = await IngressRig.start();
    const app = await rig.fake(() => {});
    using client = await rig.client();
    client.write("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    await until(() => app.heads.length === 1);
    const one = { requests: 1, webSockets: 0 };
    const used = { ...one, lastUsedAgoMs: 0, requestsStarted: 1 };
    const path = rig.socket("app");
    expect((await admin("GET", `/open?socket=${encodeURIComponent(path)}`)).body).toEqual({
      ...one,
      connections: 1,
      waiting: 0,
      targets: { "t-app": used },
      sockets: { [path]: { target: "t-app", ...one } },
    });
    expect((await admin("GET", "/open?socket=/other")).body).toMatchObject({ requests: 0 });
    // No table names it any more, and still it is counted until it ends: that is what a drain waits for.
    await rig.route({});
    expect((await admin("GET", "/open")).body).toMatchObject({ targets: { "t-app": one } });
    app.connections[0]?.send(response("late"));
    await client.until((text) => text.endsWith("late"));
    expect((await admin("GET", "/open")).body).toMatchObject({ requests: 0, targets: {} });
    await until(() => app.open === 0);
  });

  test("knows no other command", async () => {
    rig = await IngressRig.start();
    expect(await admin("GET", "/table")).toMatchObject({ status: 404 });
    expect(await admin("PUT", "/workers/..%2f")).toMatchObject({ status: 404 });
  });
});

describe("a drain", () => {
  test("takes no more, lets what is open end, and says what it cut", async () => {
    rig = await IngressRig.start();
    const app = await rig.fake((connection) => connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"));
    using idle = await rig.client();
    using busy = await rig.client();
    busy.write("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    await busy.until((text) => text.endsWith("\r\n\r\n"));
    const began = performance.now();
    const drained = admin("POST", "/drain");
    await idle.closed();
    await expect(rig.client()).rejects.toThrow(/ECONNREFUSED/);
    expect(busy.ending).toBeUndefined();
    app.connections[0]?.send("done");
    await busy.closed();
    expect(busy.received).toMatch(/done$/);
    expect(await drained).toEqual({ status: 200, body: { cutRequests: 0, cutWebSockets: 0 } });
    // As soon as the last one has ended, not at the deadline of 5 s.
    expect(performance.now() - began).toBeLessThan(4000);
  });

  test("ends at its deadline", async () => {
    rig = await IngressRig.start({ drainMs: 100 });
    const app = await rig.fake(() => {});
    using busy = await rig.client();
    busy.write("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    await until(() => app.open === 1);
    expect(await admin("POST", "/drain")).toEqual({ status: 200, body: { cutRequests: 1, cutWebSockets: 0 } });
    await busy.closed();
    await until(() => app.open === 0);
  });
});

test("many tables at once are taken in their order", async () => {
  rig = await IngressRig.start();
  const offers = Array.from({ length: 20 }, (_, n) =>
    rig.ingress.putTable("a", { generation: n + 1, ...tableOf({ [`app${n}`]: [] }) }),
  );
  expect(await Promise.all(offers)).toEqual(Array.from({ length: 20 }, () => true));
  expect(await statusOf("app0")).toBe(404);
  expect(JSON.parse(readFileSync(routesFile(), "utf8"))).toMatchObject({ table: { generation: 20 } });
});

test("localhost is both loopback addresses, on one port", async () => {
  rig = await IngressRig.start({ host: "localhost" });
  const statuses = await Promise.all(
    ["127.0.0.1", "::1"].map(
      (host) =>
        new Promise((resolve, reject) => {
          httpRequest({ host, port: rig.port, headers: { host: "nobody.localhost" } }, (incoming) => {
            incoming.resume();
            resolve(incoming.statusCode);
          })
            .on("error", reject)
            .end();
        }),
    ),
  );
  expect(statuses).toEqual([404, 404]);
  await expect(IngressRig.start({ port: rig.port })).rejects.toThrow(/EADDRINUSE/);
});
