import { afterEach, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { answering, FakeUpstream, response } from "../../test/support/fake-upstream.ts";
import { IngressRig } from "../../test/support/ingress-rig.ts";
import { RawClient, readResponse, sendRaw } from "../../test/support/raw-client.ts";

/** A process is stopped when nothing is open on it: what the ingress says about that must be exact, for streams and WebSockets too. */

let rig: IngressRig;

afterEach(async () => {
  await rig[Symbol.asyncDispose]();
});

async function until(ready: () => boolean, what: string): Promise<void> {
  await pollUntil({ ms: 10_000, everyMs: 2, what }, () => ready() || undefined);
}

/** What the supervisor asks before it stops the process behind `socket`. */
async function openOn(socket: string): Promise<{ requests: number; webSockets: number }> {
  const target = `/open?socket=${encodeURIComponent(socket)}`;
  const received = await sendRaw(
    `${rig.folder}/admin.sock`,
    `GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
  );
  const { requests, webSockets } = JSON.parse(readResponse(received).body) as { requests: number; webSockets: number };
  return { requests, webSockets };
}

const streamHead = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/** A process of the old version with streams and WebSockets open on it, while a new one gets what comes. */
async function replaced(streams: number, webSockets: number) {
  rig = await IngressRig.start();
  const old = await rig.fake((connection, head) => connection.send(head.includes("upgrade") ? switching : streamHead));
  const open = async (count: number, fields: string, greeting: string) =>
    await Promise.all(
      Array.from({ length: count }, async () => {
        const client = await rig.client();
        client.write(`GET / HTTP/1.1\r\nHost: app.localhost\r\n${fields}\r\n`);
        await client.until((text) => text.startsWith(greeting) && text.endsWith("\r\n\r\n"));
        return client;
      }),
    );
  const readers = await open(streams, "", "HTTP/1.1 200");
  const talkers = await open(webSockets, "Connection: Upgrade\r\nUpgrade: websocket\r\n", "HTTP/1.1 101");
  const next = await FakeUpstream.listen(rig.socket("next"), answering("new"));
  await rig.route({ app: [next.path] });
  return { old, next, readers, talkers };
}

test("streams and WebSockets of a replaced version are counted until each has ended, and new requests are not", async () => {
  const { old, next, readers, talkers } = await replaced(8, 8);
  await using _next = next;
  expect(await openOn(old.path)).toEqual({ requests: 8, webSockets: 8 });
  expect(await rig.get("/")).toMatchObject({ body: "new" });
  expect(await openOn(old.path)).toEqual({ requests: 8, webSockets: 8 });
  let left = 8;
  for (const connection of old.connections.filter(({ received }) => !received.includes("upgrade"))) {
    connection.send("3\r\nend\r\n0\r\n\r\n");
    left--;
    await pollUntil({ ms: 10_000, everyMs: 2, what: "one less" }, async () =>
      (await openOn(old.path)).requests === left ? true : undefined,
    );
  }
  for (const reader of readers) await reader.until((text) => text.endsWith("3\r\nend\r\n0\r\n\r\n"));
  // WebSockets end from their client's side, from the process's, or by a client that vanishes.
  talkers[0]?.socket.end();
  talkers[1]?.abort();
  old.connections.findLast(({ received }) => received.includes("upgrade"))?.socket.destroy();
  await pollUntil({ ms: 10_000, everyMs: 2, what: "three less" }, async () =>
    (await openOn(old.path)).webSockets === 5 ? true : undefined,
  );
  for (const talker of talkers) talker.abort();
  await pollUntil({ ms: 10_000, everyMs: 2, what: "nothing to be open" }, async () => {
    const { requests, webSockets } = await openOn(old.path);
    return requests + webSockets === 0 ? true : undefined;
  });
  await until(() => old.open === 0, "the process to be left alone");
});

test("a stream whose reader is slow counts until its process has given all of it", async () => {
  const { old, next, readers } = await replaced(1, 0);
  await using _next = next;
  const [reader] = readers;
  reader?.socket.pause();
  const size = 8 * 1024 * 1024;
  old.connections[0]?.send(`${size.toString(16)}\r\n${"x".repeat(size)}\r\n0\r\n\r\n`);
  await until(() => (old.connections[0]?.socket.writableLength ?? 0) > 0, "the process to be held back");
  expect(await openOn(old.path)).toEqual({ requests: 1, webSockets: 0 });
  reader?.socket.resume();
  await reader?.until((text) => text.endsWith("\r\n0\r\n\r\n"));
  await until(() => old.open === 0, "the process to be left alone");
  expect(await openOn(old.path)).toEqual({ requests: 0, webSockets: 0 });
});

test("the ingress's own stop lets a stream and a WebSocket end, and cuts what lasts", async () => {
  rig = await IngressRig.start({ drainMs: 500 });
  const app = await rig.fake((connection, head) => connection.send(head.includes("upgrade") ? switching : streamHead));
  using reader = await rig.client();
  using talker = await rig.client();
  using lasting = await rig.client();
  reader.write("GET /short HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
  lasting.write("GET /long HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
  talker.write("GET /ws HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  await until(() => app.heads.length === 3, "all to be asked");
  await lasting.until((text) => text.includes("\r\n\r\n"));
  const drained = rig.ingress.drain();
  const of = (path: string) => app.connections.find(({ received }) => received.includes(path));
  of("/short")?.send("3\r\nend\r\n0\r\n\r\n");
  of("/ws")?.send("bye");
  of("/ws")?.socket.end();
  await reader.until((text) => text.endsWith("3\r\nend\r\n0\r\n\r\n"));
  await talker.until((text) => text.endsWith("bye"));
  expect(await drained).toEqual({ cutRequests: 1, cutWebSockets: 0 });
  await lasting.closed();
  expect(lasting.received).not.toContain("0\r\n\r\n");
});

test("usage is told by target: what was asked, and how long ago the last of it ended", async () => {
  rig = await IngressRig.start();
  const app = await rig.fake(() => {});
  const client = await RawClient.to(rig.port);
  client.write("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
  await until(() => app.heads.length === 1, "the request");
  expect(rig.ingress.open().targets["t-app"]).toMatchObject({ requests: 1, requestsStarted: 1, lastUsedAgoMs: 0 });
  app.connections[0]?.send(response("ok"));
  await client.until((text) => text.endsWith("ok"));
  await pollUntil({ ms: 10_000, everyMs: 5, what: "time to pass" }, () =>
    (rig.ingress.open().targets["t-app"]?.lastUsedAgoMs ?? 0) > 50 ? true : undefined,
  );
  expect(rig.ingress.open().targets["t-app"]).toMatchObject({ requests: 0, requestsStarted: 1 });
  // Another process of the same version goes on counting.
  await using second = await FakeUpstream.listen(rig.socket("second"), answering("two"));
  await rig.route({ app: [second.path] });
  await rig.get("/");
  expect(rig.ingress.open().targets["t-app"]).toMatchObject({ requestsStarted: 2 });
  client.abort();
});
