import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { answering, FakeUpstream, response, type FakeHandler } from "../../test/support/fake-upstream.ts";
import { IngressRig, tableOf } from "../../test/support/ingress-rig.ts";
import { readResponse } from "../../test/support/raw-client.ts";

let rig: IngressRig;
afterEach(async () => {
  await rig.quiet();
  await rig[Symbol.asyncDispose]();
});

const host = "Host: app.localhost";
const until = (ready: () => boolean) =>
  pollUntil({ ms: 10_000, everyMs: 2, what: "the condition" }, () => ready() || undefined);
const get = `GET / HTTP/1.1\r\n${host}\r\nConnection: close\r\n\r\n`;
const post = (body: string) =>
  `POST / HTTP/1.1\r\n${host}\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

describe("kept connections", () => {
  test("are used again, the last one first, and closed after a while", async () => {
    rig = await IngressRig.start({}, { idleUpstreamMs: 200 });
    const app = await rig.fake(answering("ok"));
    for (let n = 0; n < 5; n++) await rig.get("/");
    expect(app.connections).toHaveLength(1);
    await Promise.all(Array.from({ length: 10 }, () => rig.get("/")));
    const opened = app.connections.length;
    expect(opened).toBeLessThanOrEqual(11);
    await until(() => app.open === 0);
    await rig.get("/");
    expect(app.connections).toHaveLength(opened + 1);
  });

  test("are no more than the limit", async () => {
    rig = await IngressRig.start({}, { idleUpstreams: 2 });
    const waiting: (() => void)[] = [];
    const app = await rig.fake((connection) => waiting.push(() => connection.send(response("ok"))));
    const answers = Array.from({ length: 6 }, () => rig.get("/"));
    await until(() => waiting.length === 6);
    for (const answer of waiting) answer();
    await Promise.all(answers);
    await until(() => app.open === 2);
  });

  test("that the process closed while they were idle are not used", async () => {
    rig = await IngressRig.start();
    const app = await rig.fake(answering("ok"));
    for (let n = 0; n < 20; n++) {
      expect(await rig.raw(post("body"))).toMatch(/^HTTP\/1.1 200 /);
      for (const { socket } of app.connections) socket.destroy();
    }
  });
});

describe("a request that got no byte of an answer", () => {
  /** Answers the first request of a connection and drops the next one. */
  const racy: FakeHandler = (connection) => {
    if (connection.heads.length === 1) connection.send(response("ok"));
    else connection.socket.destroy();
  };

  test("is sent once more when it is safe to run twice", async () => {
    rig = await IngressRig.start();
    const app = await rig.fake(racy);
    for (let n = 0; n < 5; n++) expect(await rig.raw(get)).toMatch(/^HTTP\/1.1 200 /);
    expect(app.heads.length).toBeGreaterThan(5);
  });

  test("is not when it may have been run: the client hears of it", async () => {
    rig = await IngressRig.start();
    const app = await rig.fake(racy);
    const bare = `POST / HTTP/1.1\r\n${host}\r\nConnection: close\r\n\r\n`;
    expect(await rig.raw(bare)).toMatch(/^HTTP\/1.1 200 /);
    expect(await rig.raw(bare)).toMatch(/^HTTP\/1.1 502 /);
    expect(await rig.raw(post("x"))).toMatch(/^HTTP\/1.1 200 /);
    expect(await rig.raw(post("x"))).toMatch(/^HTTP\/1.1 502 /);
    expect(app.heads).toHaveLength(4);
  });

  test("is given up when the second try fails too", async () => {
    rig = await IngressRig.start();
    const app = await rig.fake((connection) => connection.socket.destroy());
    expect(await rig.raw(get)).toMatch(/^HTTP\/1.1 502 /);
    expect(app.heads).toHaveLength(2);
  });

  test("is never repeated once a byte of the answer came", async () => {
    rig = await IngressRig.start();
    const app = await rig.fake((connection) => {
      connection.send("HTTP/1.1 200");
      setTimeout(() => connection.socket.destroy(), 5);
    });
    expect(await rig.raw(get)).toMatch(/^HTTP\/1.1 502 /);
    expect(app.heads).toHaveLength(1);
  });
});

describe("a process that is not there", () => {
  test("is waited for, with the body as it was", async () => {
    rig = await IngressRig.start();
    await rig.route({ app: [rig.socket("app")] });
    const answers = [rig.raw(get), rig.raw(post("small")), rig.raw(post("x".repeat(300_000)))];
    await until(() => rig.ingress.open().waiting === 3);
    await using app = await FakeUpstream.listen(rig.socket("app"), (connection, head) => {
      const length = Number(/content-length: (\d+)/.exec(head)?.[1] ?? 0);
      void until(() => connection.body.length === length).then(() => connection.send(response(`${length}`)));
    });
    const bodies = (await Promise.all(answers)).map((received) => readResponse(received).body);
    expect(bodies).toEqual(["0", "5", "300000"]);
    expect(app.received).toContain("small");
  });

  test("is waited for where a newer table says it is", async () => {
    rig = await IngressRig.start({}, { holdEveryMs: 60_000, holdMs: 60_000 });
    await rig.put({ ...tableOf({ app: [] }) });
    const answer = rig.raw(post("body"));
    await until(() => rig.ingress.open().waiting === 1);
    await rig.fake(answering("here"), "app");
    expect(readResponse(await answer).body).toBe("here");
  });

  test("is 503 when it does not come in time, and when it is known to be down, at once", async () => {
    rig = await IngressRig.start({}, { holdMs: 100 });
    await rig.route({ app: [rig.socket("app")] });
    const late = readResponse(await rig.raw(get));
    expect(late).toMatchObject({ status: 503 });
    expect(late.headers.get("retry-after")).toBe("1");
    const table = tableOf({ app: [] });
    const target = table.targets["t-app"];
    await rig.put({ ...table, targets: { "t-app": { ...target!, down: "it fails: secret reason" } } });
    const down = readResponse(await rig.raw(get));
    expect(down.status).toBe(503);
    expect(down.body).not.toContain("secret");
    expect(await rig.get("/", [], "localhost")).toMatchObject({
      status: 503,
      body: expect.stringContaining("console"),
    });
  });

  test("makes only so many wait", async () => {
    rig = await IngressRig.start({}, { heldRequests: 3, holdMs: 60_000 });
    await rig.route({ app: [rig.socket("app")] });
    const clients = await Promise.all(Array.from({ length: 3 }, () => rig.client()));
    for (const client of clients) client.write(get);
    await until(() => rig.ingress.open().waiting === 3);
    expect(await rig.raw(get)).toMatch(/^HTTP\/1.1 503 /);
    for (const client of clients) client.abort();
    await until(() => rig.ingress.open().waiting === 0);
  });

  test("does not make a client wait that has left", async () => {
    rig = await IngressRig.start({}, { holdMs: 60_000 });
    await rig.route({ app: [rig.socket("app")] });
    const client = await rig.client();
    client.write(post("x"));
    await until(() => rig.ingress.open().waiting === 1);
    client.socket.end();
    await rig.quiet();
    await using app = await FakeUpstream.listen(rig.socket("app"), answering("ok"));
    expect(await rig.raw(get)).toMatch(/^HTTP\/1.1 200 /);
    expect(app.heads).toHaveLength(1);
  });

  test("and that ends before it reads what waits for it is asked anew once it is back", async () => {
    rig = await IngressRig.start();
    const unread: Socket[] = [];
    const deaf = createServer({ pauseOnConnect: true }, (socket) => unread.push(socket));
    deaf.listen(rig.socket("app"));
    await once(deaf, "listening");
    await rig.route({ app: [rig.socket("app")] });
    const bodyless = [get, get.replace("GET", "DELETE"), get.replace("GET", "POST")];
    const answers = bodyless.map((request) => rig.raw(request));
    const withBody = rig.raw(post("x"));
    await until(() => unread.length === 4);
    deaf.close();
    for (const socket of unread) socket.destroy();
    await once(deaf, "close");
    // Whether it read a body's beginning cannot be told, so that one is not run again.
    expect(await withBody).toMatch(/^HTTP\/1.1 502 /);
    await using app = await FakeUpstream.listen(rig.socket("app"), answering("ok"));
    for (const received of await Promise.all(answers)) expect(received).toMatch(/^HTTP\/1.1 200 /);
    expect(app.heads).toHaveLength(3);
  });
});
