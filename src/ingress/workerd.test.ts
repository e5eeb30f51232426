import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { IngressRig } from "../../test/support/ingress-rig.ts";
import { readResponse } from "../../test/support/raw-client.ts";
import { clientFrame, openingRequest, sampleAccept, serverMessages } from "../../test/support/websocket-frames.ts";
import { startWorker, type WorkerdProcess } from "../../test/support/workerd-process.ts";

const code = `export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/throw") throw new Error("secret");
    if (pathname === "/own500") return new Response(new TextEncoder().encode("Internal Server Error"), { status: 500 });
    if (pathname === "/throw-late") return new Response(new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode("part"));
        setTimeout(() => controller.error(new Error("secret")), 20);
      },
    }));
    if (pathname === "/echo") return new Response(request.body, { headers: { "x-length": request.headers.get("content-length") ?? "none" } });
    if (pathname === "/early") return new Response("early");
    if (pathname === "/empty") return new Response(null, { status: 204 });
    if (pathname === "/ws") {
      const [client, server] = Object.values(new WebSocketPair());
      server.accept();
      server.addEventListener("message", ({ data }) => data === "close" ? server.close(1000, "asked") : server.send(data));
      return new Response(null, { status: 101, webSocket: client });
    }
    return Response.json({ method: request.method, url: request.url, cf: request.cf, headers: Object.fromEntries(request.headers) });
  },
};`;

let rig: IngressRig;
let workerd: WorkerdProcess;
beforeAll(async () => {
  rig = await IngressRig.start();
  workerd = await startWorker({ folder: rig.folder, name: "app", code, socket: rig.socket("app") });
  await rig.route({ app: [rig.socket("app")] });
});
afterAll(async () => {
  await rig.quiet();
  await workerd.kill();
  await rig[Symbol.asyncDispose]();
});

const host = "Host: app.localhost:8787";

// WK28, WK29
test("a Worker sees the documented headers, request.cf and its public address", async () => {
  const { body, headers } = await rig.get("/path?q=1", ["Accept-Encoding: gzip, br", "X-Own: caf\u00e9"]);
  const seen = JSON.parse(body) as { url: string; cf: Record<string, unknown>; headers: Record<string, string> };
  expect(seen.url).toBe("http://app.localhost/path?q=1");
  expect(seen.cf).toMatchObject({
    colo: "SOL",
    country: "XX",
    httpProtocol: "HTTP/1.1",
    clientAcceptEncoding: "gzip, br",
  });
  // https://developers.cloudflare.com/workers/runtime-apis/request/#incomingrequestcfproperties
  const documented = [
    "asn",
    "asOrganization",
    "botManagement",
    "clientAcceptEncoding",
    "clientTcpRtt",
    "colo",
    "country",
    "isEUCountry",
    "httpProtocol",
    "requestPriority",
    "tlsCipher",
    "tlsClientAuth",
    "tlsClientCiphersSha1",
    "tlsClientExtensionsSha1",
    "tlsClientExtensionsSha1Le",
    "tlsClientHelloLength",
    "tlsClientRandom",
    "tlsVersion",
    "city",
    "continent",
    "latitude",
    "longitude",
    "postalCode",
    "metroCode",
    "region",
    "regionCode",
    "timezone",
  ];
  expect(documented.filter((key) => !(key in seen.cf))).toEqual([]);
  expect(seen.headers).toMatchObject({
    "accept-encoding": "gzip, br",
    "cf-connecting-ip": "127.0.0.1",
    "cf-ipcountry": "XX",
    "cf-visitor": '{"scheme":"http"}',
    "x-forwarded-for": "127.0.0.1",
    "x-forwarded-proto": "http",
    "x-real-ip": "127.0.0.1",
  });
  expect(seen.headers["cf-ray"]).toBe(headers.get("cf-ray"));
  expect(Object.keys(seen.headers).filter((name) => name.startsWith("x-solum"))).toEqual([]);
});

test("behind a proxy that ends TLS, the address and the headers say https", async () => {
  const behind = await IngressRig.start({ publicScheme: "https" });
  try {
    await behind.route({ app: [rig.socket("app")] });
    const { body } = await behind.get("/", ["X-Forwarded-Proto: http", "X-Forwarded-For: 9.9.9.9"]);
    expect(JSON.parse(body)).toMatchObject({
      url: "https://app.localhost/",
      headers: { "cf-visitor": '{"scheme":"https"}', "x-forwarded-proto": "https", "x-forwarded-for": "127.0.0.1" },
    });
  } finally {
    await behind[Symbol.asyncDispose]();
  }
});

// WK48
describe("an exception", () => {
  test("becomes a page that tells its ray and no details", async () => {
    const plain = await rig.get("/throw");
    expect(plain.status).toBe(500);
    expect(plain.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    expect(plain.body).toContain("error code: 1101");
    expect(plain.body).toContain(plain.headers.get("cf-ray"));
    const html = await rig.get("/throw", ["Accept: text/html,*/*"]);
    expect(html.headers.get("content-type")).toBe("text/html; charset=utf-8");
    expect(html.body).toContain("Error 1101");
    expect(plain.body + html.body).not.toMatch(/secret|workerd/);
    const received = await rig.raw(`HEAD /throw HTTP/1.1\r\n${host}\r\nConnection: close\r\n\r\n`);
    expect(received).toMatch(/^HTTP\/1.1 500 [^]*\r\n\r\n$/);
  });

  test("keeps the client's connection usable, also when it had a body", async () => {
    using client = await rig.client();
    client.write(`GET /throw HTTP/1.1\r\n${host}\r\n\r\n`);
    await client.until((text) => text.includes("1101"));
    client.received = "";
    client.write(`POST /throw HTTP/1.1\r\n${host}\r\nContent-Length: 3\r\n\r\nabc`);
    await client.until((text) => text.includes("1101"));
    client.received = "";
    client.write(`GET /early HTTP/1.1\r\n${host}\r\n\r\n`);
    await client.until((text) => text.endsWith("early"));
  });

  test("is told apart from a Worker's own 500 with the same text", async () => {
    expect(await rig.get("/own500")).toMatchObject({ status: 500, body: "Internal Server Error" });
    // Here workerd closes the connection too, since it has not read the body: only the order of its fields differs.
    using client = await rig.client();
    client.write(`POST /own500 HTTP/1.1\r\n${host}\r\nContent-Length: 100000\r\n\r\nx`);
    await client.until((text) => text.endsWith("Internal Server Error"));
    expect(client.received).not.toContain("1101");
  });

  test("in the middle of an answer cuts it off", async () => {
    using client = await rig.client();
    client.write(`GET /throw-late HTTP/1.1\r\n${host}\r\n\r\n`);
    await client.closed();
    expect(client.received).toMatch(/\r\n4\r\npart\r\n$/);
  });
});

test("bodies come back as they were, whatever their framing", async () => {
  const body = "0123456789".repeat(20_000);
  const byLength = `POST /echo HTTP/1.1\r\n${host}\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const chunks = `30D40\r\n${body}\r\n0\r\nX-T: 1\r\n\r\n`;
  const inChunks = `POST /echo HTTP/1.1\r\n${host}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`;
  for (const request of [byLength, inChunks]) expect(readResponse(await rig.raw(request)).body).toBe(body);
  const empty = readResponse(
    await rig.raw(`POST /echo HTTP/1.1\r\n${host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`),
  );
  expect(empty.headers.get("x-length")).toBe("0");
  expect(readResponse(await rig.raw(`POST /echo HTTP/1.0\r\n${host}\r\nContent-Length: 3\r\n\r\nabc`)).body).toBe(
    "abc",
  );
  expect(await rig.get("/empty")).toMatchObject({ status: 204, body: "" });
});

// A 2 MB POST took 1.01 s when the expectation was left to workerd (workerd-runtime §4.1).
test("an answer that workerd gives before it has read the body arrives, with the rest of it unread", async () => {
  for (let n = 0; n < 10; n++) {
    using client = await rig.client();
    client.write(`POST /early HTTP/1.1\r\n${host}\r\nContent-Length: 2000000\r\n\r\n${"x".repeat(200_000)}`);
    await client.until((text) => text.endsWith("early"));
    await client.closed();
  }
});

describe("WebSockets", () => {
  test("open, carry messages of every size, and close as the Worker says", async () => {
    using client = await rig.client();
    client.write(openingRequest("app.localhost", "/ws"));
    await client.until((text) => text.includes("\r\n\r\n"));
    expect(client.received).toMatch(/^HTTP\/1\.1 101 Switching Protocols\r\n/);
    expect(client.received).toContain(`Sec-WebSocket-Accept: ${sampleAccept}`);
    expect(client.received).toMatch(/\r\nUpgrade: websocket\r\n/i);
    expect(rig.ingress.open()).toMatchObject({ requests: 0, webSockets: 1 });
    const messages = ["hello", "x".repeat(1000), "y".repeat(300_000)];
    for (const message of messages) client.write(clientFrame(message));
    await client.until((text) => serverMessages(text).length === 3);
    expect(serverMessages(client.received)).toEqual(messages);
    client.write(clientFrame("close"));
    await client.until((text) => serverMessages(text).at(-1)?.endsWith("asked") ?? false);
    client.write(clientFrame("\x03\xe8", 8));
    await client.closed();
    await rig.quiet();
  });

  test("of another version or without a key are what workerd says they are", async () => {
    const opening = openingRequest("app.localhost", "/ws").replace("Connection: Upgrade", "Connection: Upgrade, close");
    expect(await rig.raw(opening.replace("Version: 13", "Version: 99"))).toMatch(/^HTTP\/1.1 426 /);
    expect(await rig.raw(opening.replace(/Sec-WebSocket-Key.*\r\n/, ""))).toMatch(/^HTTP\/1.1 400 /);
  });

  test("end when the Worker's process is killed", async () => {
    const folder = rig.folder;
    const other = await startWorker({ folder, name: "other", code, socket: rig.socket("other") });
    await rig.route({ app: [rig.socket("app")], other: [rig.socket("other")] });
    using client = await rig.client();
    client.write(openingRequest("other.localhost", "/ws"));
    await client.until((text) => text.includes(" 101 "));
    await other.kill();
    await client.closed();
    await rig.quiet();
  });
});

test("methods that workerd does not know are 501", async () => {
  expect(await rig.raw(`FOO / HTTP/1.1\r\n${host}\r\nConnection: close\r\n\r\n`)).toMatch(/^HTTP\/1.1 501 /);
});
