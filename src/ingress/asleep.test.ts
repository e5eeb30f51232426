import { once } from "node:events";
import { createServer } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { signCapability } from "#core/capability.ts";
import { pollUntil } from "#core/deadline.ts";
import { createWireServer, type WireServer } from "#http/wire/server.ts";
import type { RoutingTable } from "#runtime/routes.ts";
import { answering, FakeUpstream, response } from "../../test/support/fake-upstream.ts";
import { capabilityKey, IngressRig, tableOf } from "../../test/support/ingress-rig.ts";
import { readResponse, sendRaw } from "../../test/support/raw-client.ts";
import type { IngressLimits } from "#ingress/limits.ts";

/** Workers without a process, and hosts that no table names: requests wait, and the supervisor is asked. */

type Asked = { target?: string; host?: string };

let rig: IngressRig;
let supervisor: WireServer | undefined;
let asked: Asked[];
/** What the supervisor does when it is asked; its answer follows. */
let onAsk: (what: Asked) => Promise<object> | object;

beforeEach(() => {
  asked = [];
  onAsk = () => ({});
});

afterEach(async () => {
  await supervisor?.close();
  supervisor = undefined;
  await rig[Symbol.asyncDispose]();
});

async function start(limits: Partial<IngressLimits> = {}): Promise<void> {
  rig = await IngressRig.start({}, limits);
  await superviseAgain();
}

async function superviseAgain(): Promise<void> {
  supervisor = createWireServer(async (request) => {
    if (`${request.method} ${request.target}` !== "POST /wake") return { status: 404 };
    const what = JSON.parse((await request.bytes(4096)).toString("utf8")) as Asked;
    asked.push(what);
    return { status: 200, body: JSON.stringify(await onAsk(what)) };
  });
  await supervisor.listen(rig.socket("supervisor"));
}

function asleep(...names: string[]): Omit<RoutingTable, "generation"> {
  const table = tableOf(Object.fromEntries(names.map((name) => [name, []])));
  for (const target of Object.values(table.targets)) target.asleep = true;
  return table;
}

async function wakesUp(name: string, body: string): Promise<FakeUpstream> {
  return await rig.fake(answering(body), name);
}

async function until(ready: () => boolean, what: string): Promise<void> {
  await pollUntil({ ms: 10_000, everyMs: 2, what }, () => ready() || undefined);
}

describe("a target that sleeps", () => {
  test("is asked for once, and every request that came meanwhile is answered when it is awake", async () => {
    await start();
    await rig.put(asleep("app"));
    const answers = Array.from({ length: 50 }, () => rig.get("/"));
    await until(() => rig.ingress.open().waiting === 50, "all to wait");
    expect(asked).toEqual([{ target: "t-app" }]);
    await wakesUp("app", "good morning");
    expect(new Set((await Promise.all(answers)).map(({ body }) => body))).toEqual(new Set(["good morning"]));
    expect(rig.ingress.open()).toMatchObject({ waiting: 0, requests: 0 });
  });

  test("is asked for again while requests wait, and after each table that leaves it asleep", async () => {
    await start({ wakeEveryMs: 60 });
    await rig.put(asleep("app"));
    const answer = rig.get("/");
    await until(() => asked.length >= 3, "a second and a third question");
    const before = asked.length;
    await rig.put(asleep("app"));
    await until(() => asked.length > before, "a question after the table");
    await wakesUp("app", "at last");
    expect((await answer).body).toBe("at last");
  });

  test("that fails to start is said so at once", async () => {
    await start();
    await rig.put(asleep("app"));
    const answer = rig.get("/");
    await until(() => asked.length === 1, "the question");
    const table = tableOf({ app: [] });
    await rig.put({ ...table, targets: { "t-app": { ...table.targets["t-app"]!, down: "ended with exit code 1" } } });
    expect(await answer).toMatchObject({ status: 503, body: expect.stringContaining("The Worker is not running") });
  });

  test("that does not come up in time is said so", async () => {
    await start({ wakeMs: 100, wakeEveryMs: 20 });
    await rig.put(asleep("app"));
    expect(await rig.get("/")).toMatchObject({
      status: 503,
      body: expect.stringContaining("The Worker is not ready yet"),
    });
  });

  test("waits no longer than it must when there is no supervisor, and is woken when one comes in time", async () => {
    await start({ holdMs: 300, wakeEveryMs: 20 });
    await supervisor?.close();
    await rig.put(asleep("app"));
    expect(await rig.get("/")).toMatchObject({
      status: 503,
      body: expect.stringContaining("the supervisor that starts Workers does not answer"),
    });
    const answer = rig.get("/");
    await until(() => rig.ingress.open().waiting === 1, "the request to wait");
    onAsk = async () => {
      await wakesUp("app", "both are back");
      return {};
    };
    await superviseAgain();
    expect((await answer).body).toBe("both are back");
  });

  test("a request's body waits with its client, and arrives whole", async () => {
    await start();
    await rig.put(asleep("app"));
    using client = await rig.client();
    const size = 8 * 1024 * 1024;
    client.write(`POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: ${size}\r\n\r\n`);
    const chunk = Buffer.alloc(64 * 1024, "x");
    let sent = 0;
    while (sent < size) {
      sent += chunk.length;
      client.socket.write(chunk);
    }
    await until(() => asked.length === 1, "the question");
    // What the kernel's buffers do not take stays with the client.
    await until(() => client.socket.writableLength > size / 2, "the client to be held back");
    let received = 0;
    const server = createServer((socket) => {
      socket.on("data", (bytes) => {
        received += bytes.length;
        if (received > size) socket.write(response("thanks"));
      });
    }).listen(rig.socket("app"));
    await once(server, "listening");
    await rig.route({ app: [rig.socket("app")] });
    await client.until((text) => text.endsWith("thanks"));
    expect(received).toBeGreaterThan(size);
    server.close();
  });

  test("a client that asks before it sends is told to go on when there is somebody to send to", async () => {
    await start();
    await rig.put(asleep("app"));
    using client = await rig.client();
    client.write("POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    await until(() => asked.length === 1, "the question");
    expect(client.received).toBe("");
    const app = await rig.fake(() => {}, "app");
    await client.until((text) => text === "HTTP/1.1 100 Continue\r\n\r\n");
    client.write("hi");
    await until(() => app.connections[0]?.body === "hi", "the body");
    app.connections[0]?.send(response("ok"));
    await client.until((text) => text.endsWith("ok"));
  });

  test("a client that leaves waits no more", async () => {
    await start();
    await rig.put(asleep("app"));
    const client = await rig.client();
    client.write("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    await until(() => rig.ingress.open().waiting === 1, "the request to wait");
    client.abort();
    await rig.quiet();
  });

  test("no more wait than there is room for", async () => {
    await start({ heldRequests: 3 });
    await rig.put(asleep("app"));
    const clients = await Promise.all(Array.from({ length: 3 }, () => rig.client()));
    for (const client of clients) client.write("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    await until(() => rig.ingress.open().waiting === 3, "three to wait");
    expect(await rig.get("/")).toMatchObject({ status: 503, body: expect.stringContaining("Too many requests") });
    for (const client of clients) client.abort();
  });

  test("is woken by another Worker's service binding", async () => {
    await start();
    await rig.put({ ...asleep("app"), hosts: {} });
    const token = signCapability(capabilityKey, { scope: "w-app", kind: "service", resource: "acc/app" });
    const answer = sendRaw(
      `${rig.folder}/w/w-app/platform.sock`,
      `GET / HTTP/1.1\r\nHost: x\r\nx-bind: ${token}\r\nConnection: close\r\n\r\n`,
    );
    await until(() => asked.length === 1, "the question");
    await wakesUp("app", "called");
    expect(readResponse(await answer).body).toBe("called");
  });

  test("a request that was drawn for a version that sleeps waits for it, whatever else is awake", async () => {
    await start({ wakeEveryMs: 10 });
    const awake = await rig.fake(answering("awake"), "awake");
    const table = tableOf({ awake: [awake.path], sleeping: [] });
    table.targets["t-sleeping"]!.asleep = true;
    const hosts: RoutingTable["hosts"] = {
      "app.localhost": {
        kind: "worker",
        script: "app",
        versions: [
          { target: "t-awake", weight: 50 },
          { target: "t-sleeping", weight: 50 },
        ],
      },
    };
    await rig.put({ ...table, hosts });
    const answers = Array.from({ length: 200 }, () => rig.get("/"));
    await until(() => rig.ingress.open().waiting > 50, "those of the version that sleeps to wait");
    const before = asked.length;
    await until(() => asked.length >= before + 10, "many more looks");
    // Were each look a new draw, all of them would be at the version that is awake by now.
    expect(rig.ingress.open().waiting).toBeGreaterThan(50);
    await using woken = await FakeUpstream.listen(rig.socket("sleeping"), answering("woken"));
    await rig.put({ ...tableOf({ awake: [awake.path], sleeping: [woken.path] }), hosts });
    const bodies = (await Promise.all(answers)).map(({ body }) => body);
    expect(bodies.filter((body) => body === "woken").length).toBeGreaterThan(50);
  });
});

describe("a host that no table names", () => {
  const preview = "0a1b2c3d-app.localhost";

  test("is asked for when it may be a preview, and answered once a table names it", async () => {
    await start();
    onAsk = ({ host }) => ({ known: host === preview });
    const answer = rig.get("/", [], preview);
    await until(() => asked.length === 1, "the question");
    expect(asked).toEqual([{ host: preview }]);
    const app = await rig.fake(answering("preview"), "app");
    const table = tableOf({ app: [app.path] });
    await rig.put({ ...table, hosts: { [preview]: table.hosts["app.localhost"]! } });
    expect(await answer).toMatchObject({ status: 200, body: "preview" });
  });

  test("is 404 when the supervisor does not know it, and is not asked for again at once", async () => {
    await start();
    onAsk = () => ({ known: false });
    for (let n = 0; n < 5; n++) expect(await rig.get("/", [], preview)).toMatchObject({ status: 404 });
    expect(asked).toHaveLength(1);
    expect((await rig.get("/", [], preview)).body).toContain(`No Worker answers for ${preview}`);
  });

  test("is asked for again when its time as unknown is over", async () => {
    await start({ unknownHostMs: 50 });
    onAsk = () => ({ known: false });
    await pollUntil({ ms: 10_000, everyMs: 10, what: "a second question" }, async () => {
      expect(await rig.get("/", [], preview)).toMatchObject({ status: 404 });
      return asked.length >= 2 || undefined;
    });
  });

  test.each(["plain.localhost", "a-b.example.com", "a-.localhost", "-a.localhost", "x.a-b.c.d.localhost"])(
    "%s is nobody's, without a question",
    async (host) => {
      await start();
      const { status } = await rig.get("/", [], host);
      expect([400, 404]).toContain(status);
      expect(asked).toEqual([]);
    },
  );

  test("strangers who make up hosts take neither all memory nor the room of others", async () => {
    await start({ heldUnknownHosts: 4, wakeQuestions: 2, rememberedHosts: 8 });
    onAsk = () => new Promise(() => {});
    await rig.put(asleep("app"));
    const clients = await Promise.all(Array.from({ length: 4 }, () => rig.client()));
    clients.forEach((client, n) => client.write(`GET / HTTP/1.1\r\nHost: made-up${n}.localhost\r\n\r\n`));
    await until(() => rig.ingress.open().waiting === 4, "four to wait");
    expect(await rig.get("/", [], "made-up-too.localhost")).toMatchObject({ status: 503 });
    expect(asked.length).toBeLessThanOrEqual(2);
    const other = rig.get("/");
    await until(() => rig.ingress.open().waiting === 5, "a known Worker's request to wait");
    await wakesUp("app", "served");
    expect((await other).body).toBe("served");
    for (const client of clients) client.abort();
  });

  test("is a clear page when the supervisor is down", async () => {
    await start({ holdMs: 100, wakeEveryMs: 20 });
    await supervisor?.close();
    expect(await rig.get("/", [], preview)).toMatchObject({ status: 503, body: expect.stringContaining("supervisor") });
  });
});
