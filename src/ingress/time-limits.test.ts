import { connect } from "node:net";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { pollUntil, sleep } from "#core/deadline.ts";
import { response } from "../../test/support/fake-upstream.ts";
import { IngressRig } from "../../test/support/ingress-rig.ts";
import { RawClient } from "../../test/support/raw-client.ts";

let rig: IngressRig;
afterEach(async () => {
  await rig.quiet();
  await rig[Symbol.asyncDispose]();
});

const host = "Host: app.localhost";
const until = (ready: () => boolean) =>
  pollUntil({ ms: 10_000, everyMs: 2, what: "the condition" }, () => ready() || undefined);
const ok = (rigged: IngressRig) => rigged.fake((connection) => connection.send(response("ok")));

/** Sends `bytes` one by one, `everyMs` apart, for as long as the connection lives. */
function trickle(client: RawClient, bytes: string, everyMs: number): void {
  let at = 0;
  const timer = setInterval(() => {
    if (client.ending !== undefined || at >= bytes.length) clearInterval(timer);
    else client.write(bytes[at++] ?? "");
  }, everyMs);
}

// F26
describe("a client that is slow to ask", () => {
  test("a byte at a time loses its connection at the head's limit, with an answer", async () => {
    rig = await IngressRig.start({}, { headMs: 200 });
    await ok(rig);
    using client = await rig.client();
    trickle(client, `GET / HTTP/1.1\r\n${host}\r\nA: ${"b".repeat(1000)}`, 10);
    await client.closed();
    expect(client.received).toMatch(/^HTTP\/1.1 408 /);
  });

  test("and says nothing at all loses it without one", async () => {
    rig = await IngressRig.start({}, { headMs: 100 });
    using client = await rig.client();
    await client.closed();
    expect(client.received).toBe("");
  });

  test("and stops after a request loses it when it has been idle for long", async () => {
    rig = await IngressRig.start({}, { keepAliveMs: 100 });
    await ok(rig);
    using client = await rig.client();
    client.write(`GET / HTTP/1.1\r\n${host}\r\n\r\n`);
    await client.until((text) => text.endsWith("ok"));
    await client.closed();
    expect(client.received).toMatch(/ok$/);
  });

  test("and whose body stops is told so, and its process's request ends", async () => {
    rig = await IngressRig.start({}, { bodyIdleMs: 100 });
    const app = await rig.fake(() => {});
    for (const start of [
      "Content-Length: 10\r\n\r\nabc",
      "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
      "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    ]) {
      using client = await rig.client();
      client.write(`POST / HTTP/1.1\r\n${host}\r\n${start}`);
      await client.closed();
      expect(client.received).toMatch(/HTTP\/1.1 408 /);
    }
    await until(() => app.open === 0);
  });

  test("but whose body keeps coming is served", async () => {
    rig = await IngressRig.start({}, { bodyIdleMs: 300 });
    await rig.fake((connection) => {
      void until(() => connection.body.length === 40).then(() => connection.send(response("ok")));
    });
    using client = await rig.client();
    client.write(`POST / HTTP/1.1\r\n${host}\r\nContent-Length: 40\r\n\r\n`);
    trickle(client, "x".repeat(40), 20);
    await client.until((text) => text.endsWith("ok"));
  });
});

test("a client that takes nothing of its answer loses its connection", async () => {
  rig = await IngressRig.start({}, { stalledReaderMs: 200 });
  const app = await rig.fake((connection) => {
    connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    const more = () => {
      while (!connection.closed && connection.socket.write(`10000\r\n${"x".repeat(65_536)}\r\n`));
    };
    connection.socket.on("drain", more);
    more();
  });
  const socket = connect(rig.port, "127.0.0.1");
  socket.pause();
  socket.on("error", () => {});
  socket.write(`GET / HTTP/1.1\r\n${host}\r\n\r\n`);
  await until(() => rig.ingress.open().requests === 1);
  await until(() => app.open === 0 && rig.ingress.open().connections === 0);
  socket.destroy();
});

test("a client that reads late gets its answer to the end, also the last on its connection", async () => {
  rig = await IngressRig.start({}, { lingerMs: 30 });
  await rig.fake((connection, head) => connection.send(response("x".repeat(Number(head.split(" ")[1]?.slice(1))))));
  // Over unix sockets, whose buffers in the kernel are small: with some of these sizes the end waits in the ingress.
  const sizes = Array.from({ length: 40 }, (_, n) => 100_000 + n * 20_000);
  const path = join(rig.folder, "w", "w-app", "platform.sock");
  const clients = await Promise.all(
    sizes.map(async (size) => {
      const client = await RawClient.to(path);
      client.socket.pause();
      client.write(`GET /${size} HTTP/1.1\r\n${host}\r\nConnection: close\r\n\r\n`);
      return client;
    }),
  );
  await sleep(300);
  for (const client of clients) client.socket.resume();
  for (const client of clients) await client.closed();
  expect(clients.map(({ received }) => received.slice(received.indexOf("\r\n\r\n") + 4).length)).toEqual(sizes);
});

describe("a client that sends further requests before it has its answer", () => {
  test.each([
    ["many bytes", (client: RawClient) => client.write("x".repeat(100_000))],
    [
      "many pieces of one byte: each takes memory of its own",
      (client: RawClient) => trickle(client, "x".repeat(400), 1),
    ],
  ])("%s", async (_what, send) => {
    rig = await IngressRig.start({}, { heldBackMs: 100 });
    const app = await rig.fake(() => {});
    const client = await rig.client();
    client.write(`GET / HTTP/1.1\r\n${host}\r\n\r\n`);
    await until(() => app.heads.length === 1);
    send(client);
    await client.closed();
    await rig.quiet();
    expect(app.heads).toHaveLength(1);
  });

  test("is not hurried while they fit", async () => {
    rig = await IngressRig.start({}, { heldBackMs: 20 });
    const app = await rig.fake(() => {});
    using client = await rig.client();
    client.write(`GET / HTTP/1.1\r\n${host}\r\n\r\n`.repeat(3));
    for (const n of [1, 2, 3]) {
      await until(() => app.heads.length === n);
      const began = performance.now();
      await until(() => performance.now() - began > 60);
      app.connections[0]?.send(response(`answer ${n}`));
      await client.until((text) => text.endsWith(`answer ${n}`));
    }
  });
});

test("a body that its process does not take ends when the process says nothing for too long", async () => {
  rig = await IngressRig.start({ firstByteMs: 200 });
  await rig.fake((connection) => connection.socket.pause());
  using client = await rig.client();
  client.write(`POST / HTTP/1.1\r\n${host}\r\nContent-Length: 20000000\r\n\r\n`);
  client.socket.write(Buffer.alloc(20_000_000));
  await client.until((text) => text.startsWith("HTTP/1.1 504 "));
  await rig.quiet();
});

test("a process that thinks for longer than is allowed is 504; one that has begun may take its time", async () => {
  rig = await IngressRig.start({ firstByteMs: 150 });
  const app = await rig.fake((connection, head) => {
    if (head.startsWith("GET /never")) return;
    connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    setTimeout(() => connection.send("1\r\nb\r\n0\r\n\r\n"), 500);
  });
  const [never, slow] = await Promise.all([rig.get("/never"), rig.get("/slow")]);
  expect(never.status).toBe(504);
  expect(slow.body).toBe("ab");
  await until(() => app.open === 1);
});

test("a client that goes on sending after the last answer does not keep the connection", async () => {
  rig = await IngressRig.start({}, { lingerMs: 150 });
  using client = await rig.client();
  client.write(`POST / HTTP/1.1\r\nHost: nobody.localhost\r\nContent-Length: 100000\r\n\r\n`);
  trickle(client, "x".repeat(100_000), 5);
  await client.closed();
  expect(client.received).toMatch(/^HTTP\/1.1 404 /);
  await until(() => rig.ingress.open().connections === 0);
});

describe("connections", () => {
  test("are as many as allowed, and those that are served stay so", async () => {
    rig = await IngressRig.start({}, { connections: 3 });
    await ok(rig);
    const clients = await Promise.all(Array.from({ length: 3 }, () => rig.client()));
    using more = await rig.client();
    await more.closed();
    for (const client of clients) {
      client.write(`GET / HTTP/1.1\r\n${host}\r\nConnection: close\r\n\r\n`);
      await client.until((text) => text.endsWith("ok"));
    }
    for (const client of clients) client.abort();
    await until(() => rig.ingress.open().connections === 0);
    expect(await rig.get("/")).toMatchObject({ body: "ok" });
  });

  test("from loopback are not limited by address: a proxy that ends TLS brings everybody", async () => {
    rig = await IngressRig.start({}, { connectionsPerAddress: 1 });
    await ok(rig);
    using first = await rig.client();
    expect(await rig.get("/")).toMatchObject({ body: "ok" });
    first.abort();
  });

  test("thousands that do nothing leave room for one that does", async () => {
    rig = await IngressRig.start();
    await ok(rig);
    const idle: RawClient[] = [];
    for (let n = 0; n < 2000; n++) idle.push(await RawClient.to(rig.port));
    const began = performance.now();
    expect(await rig.get("/")).toMatchObject({ body: "ok" });
    expect(performance.now() - began).toBeLessThan(1000);
    for (const client of idle) client.abort();
    await until(() => rig.ingress.open().connections === 0);
  });
});
