import { afterEach, beforeEach, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { response, type FakeUpstream } from "../../test/support/fake-upstream.ts";
import { IngressRig } from "../../test/support/ingress-rig.ts";
import { openingRequest } from "../../test/support/websocket-frames.ts";

/** What is counted as under way decides when an old version may be stopped: it must be right after every kind of ending. */
let rig: IngressRig;
let app: FakeUpstream;
const until = (ready: () => boolean) =>
  pollUntil({ ms: 10_000, everyMs: 2, what: "the condition" }, () => ready() || undefined);
const openOn = () => {
  const { requests, webSockets } = rig.ingress.open(rig.socket("app"));
  return { requests, webSockets };
};

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

beforeEach(async () => {
  rig = await IngressRig.start({ firstByteMs: 150 }, { bodyIdleMs: 150, lingerMs: 100 });
  app = await rig.fake((connection, head) => {
    const path = head.split(" ")[1] ?? "";
    if (path === "/ok") connection.send(response("ok"));
    else if (path === "/half") connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    else if (path === "/broken") connection.send("nonsense\r\n\r\n");
    else if (path === "/ws") connection.send(switching);
    else if (path === "/die") connection.socket.destroy();
  });
});
afterEach(async () => {
  await until(() => openOn().requests === 0 && openOn().webSockets === 0);
  await rig.quiet();
  await rig[Symbol.asyncDispose]();
});

const request = (path: string, ...fields: string[]) =>
  [`GET ${path} HTTP/1.1`, "Host: app.localhost", ...fields, "", ""].join("\r\n");
const one = { requests: 1, webSockets: 0 };
const socketOpen = { requests: 0, webSockets: 1 };
const none = { requests: 0, webSockets: 0 };

test("a finished answer", async () => {
  using client = await rig.client();
  for (let n = 0; n < 3; n++) {
    client.received = "";
    client.write(request("/ok"));
    await client.until((text) => text.endsWith("ok"));
    expect(openOn()).toEqual(none);
  }
});

test.each(["/wait", "/half"])("a client that leaves during %s", async (path) => {
  for (const leave of ["abort", "end"] as const) {
    const client = await rig.client();
    client.write(request(path));
    await until(() => openOn().requests === 1);
    if (leave === "abort") client.abort();
    else client.socket.end();
    await until(() => openOn().requests === 0);
  }
});

test("a process that ends during an answer, before one, and with nonsense", async () => {
  using client = await rig.client();
  client.write(request("/half"));
  await client.until((text) => text.endsWith("half"));
  expect(openOn()).toEqual(one);
  for (const { socket } of app.connections) socket.destroy();
  await client.closed();
  expect(openOn()).toEqual(none);
  expect((await rig.get("/die")).status).toBe(502);
  expect(openOn()).toEqual(none);
  expect((await rig.get("/broken")).status).toBe(502);
  expect(openOn()).toEqual(none);
});

test("time limits", async () => {
  expect((await rig.get("/wait")).status).toBe(504);
  expect(openOn()).toEqual(none);
  expect(await rig.raw("POST /wait HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 9\r\n\r\nx")).toMatch(
    /^HTTP\/1.1 408 /,
  );
  expect(openOn()).toEqual(none);
});

test("an answer that comes before the body's end", async () => {
  using client = await rig.client();
  client.write("POST /ok HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 9\r\n\r\nx");
  await client.until((text) => text.endsWith("ok"));
  expect(openOn()).toEqual(none);
});

test("a process that goes away under many at once", async () => {
  const clients = await Promise.all(Array.from({ length: 20 }, () => rig.client()));
  for (const client of clients) client.write(request("/half"));
  await until(() => openOn().requests === 20);
  await app.kill();
  for (const client of clients) await client.closed();
  expect(openOn()).toEqual(none);
});

test("WebSockets are counted apart, and end from either side", async () => {
  using fromClient = await rig.client();
  fromClient.write(openingRequest("app.localhost", "/ws"));
  await fromClient.until((text) => text.includes(" 101 "));
  expect(openOn()).toEqual(socketOpen);
  fromClient.abort();
  await until(() => openOn().webSockets === 0);

  using halfClosed = await rig.client();
  halfClosed.write(openingRequest("app.localhost", "/ws"));
  await halfClosed.until((text) => text.includes(" 101 "));
  halfClosed.socket.end();
  await until(() => openOn().webSockets === 0);

  using fromProcess = await rig.client();
  fromProcess.write(openingRequest("app.localhost", "/ws"));
  await fromProcess.until((text) => text.includes(" 101 "));
  expect(openOn()).toEqual(socketOpen);
  for (const { socket } of app.connections) socket.destroy();
  await fromProcess.closed();
  expect(openOn()).toEqual(none);
});

test("a WebSocket that is refused is a request like any other", async () => {
  using client = await rig.client();
  client.write(openingRequest("app.localhost", "/ok"));
  await client.until((text) => text.endsWith("ok"));
  expect(openOn()).toEqual(none);
  expect(app.heads.at(-1)).toMatch(/\r\nconnection: upgrade\r\nupgrade: websocket\r\n/);
});

test("frames pass both ways as they are, also those that come early", async () => {
  using client = await rig.client();
  // A client may not send before it is answered; one that does loses nothing by it.
  client.write(`${openingRequest("app.localhost", "/ws")}early`);
  await client.until((text) => text.includes(" 101 "));
  await until(() => app.connections.at(-1)?.body === "early");
  app.connections.at(-1)?.send("\0\xff back");
  await client.until((text) => text.endsWith("\0\xff back"));
  client.write(" \x81\0");
  await until(() => app.connections.at(-1)?.body === "early \x81\0");
});
