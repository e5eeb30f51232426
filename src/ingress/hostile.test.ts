import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { FakeUpstream, response } from "../../test/support/fake-upstream.ts";
import { IngressRig } from "../../test/support/ingress-rig.ts";
import { RawClient, readResponse, readResponses } from "../../test/support/raw-client.ts";

/** The list of hostile inputs in scale-reliability-security §3.3, 57–72, as far as it concerns HTTP/1.1. */
let rig: IngressRig;
let app: FakeUpstream;
beforeAll(async () => {
  rig = await IngressRig.start();
  app = await rig.fake((connection, head) => {
    // An answer before the body's end would hide what became of the body.
    if (!head.includes("chunked")) connection.send(response("reached"));
  });
});
afterAll(() => rig[Symbol.asyncDispose]());

const host = "Host: app.localhost";
const headsSoFar = () => app.heads.length;
const statusOf = async (request: string) => Number((await rig.raw(request)).slice(9, 12));

describe("requests that two parsers could read differently never reach a process", () => {
  const smuggled = "GET /smuggled HTTP/1.1\r\nHost: app.localhost\r\n\r\n";
  const cases: [status: number, what: string, request: string][] = [
    // 57
    [400, "CL.TE", `POST / HTTP/1.1\r\n${host}\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG`],
    [
      400,
      "TE.CL",
      `POST / HTTP/1.1\r\n${host}\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n${smuggled}`,
    ],
    [
      501,
      "TE with another coding first",
      `POST / HTTP/1.1\r\n${host}\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n`,
    ],
    [501, "TE in quotes", `POST / HTTP/1.1\r\n${host}\r\nTransfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n`],
    [501, "TE with a parameter", `POST / HTTP/1.1\r\n${host}\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n`],
    [501, "an unknown TE", `POST / HTTP/1.1\r\n${host}\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
    [
      400,
      "two TE",
      `POST / HTTP/1.1\r\n${host}\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n`,
    ],
    [400, "TE after a blank", `POST / HTTP/1.1\r\n${host}\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    [
      400,
      "TE with a blank before the colon",
      `POST / HTTP/1.1\r\n${host}\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n`,
    ],
    [400, "TE after a vertical tab", `POST / HTTP/1.1\r\n${host}\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n`],
    [
      400,
      "TE hidden behind a bare LF",
      `POST / HTTP/1.1\r\n${host}\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    [
      400,
      "TE hidden behind a bare CR",
      `POST / HTTP/1.1\r\n${host}\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    [400, "TE in HTTP/1.0", `POST / HTTP/1.0\r\n${host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    // 58
    [400, "two lengths that agree", `POST / HTTP/1.1\r\n${host}\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx`],
    [
      400,
      "two lengths that differ",
      `POST / HTTP/1.1\r\n${host}\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n${smuggled}`,
    ],
    [400, "a list of lengths", `POST / HTTP/1.1\r\n${host}\r\nContent-Length: 0, 44\r\n\r\n${smuggled}`],
    [400, "a negative length", `POST / HTTP/1.1\r\n${host}\r\nContent-Length: -1\r\n\r\n`],
    [400, "a signed length", `POST / HTTP/1.1\r\n${host}\r\nContent-Length: +5\r\n\r\nhello`],
    [400, "a hexadecimal length", `POST / HTTP/1.1\r\n${host}\r\nContent-Length: 0x5\r\n\r\nhello`],
    [400, "a length with a blank inside", `POST / HTTP/1.1\r\n${host}\r\nContent-Length: 1 0\r\n\r\nx`],
    [400, "a length past all numbers", `POST / HTTP/1.1\r\n${host}\r\nContent-Length: 99999999999999999999\r\n\r\n`],
    // 59
    [400, "lines that end in LF", `GET / HTTP/1.1\n${host}\n\n`],
    [400, "one line that ends in LF", `GET / HTTP/1.1\n${host}\r\n\r\n`],
    [400, "a folded line", `GET / HTTP/1.1\r\n${host}\r\nA: b\r\n c\r\n\r\n`],
    [400, "a folded first line", `GET / HTTP/1.1\r\n ${host}\r\n\r\n`],
    [400, "a blank before the colon", `GET / HTTP/1.1\r\nHost : app.localhost\r\n\r\n`],
    [400, "NUL in a value", `GET / HTTP/1.1\r\n${host}\r\nA: b\0\r\n\r\n`],
    [400, "NUL in a name", `GET / HTTP/1.1\r\n${host}\r\nA\0: b\r\n\r\n`],
    [400, "no colon", `GET / HTTP/1.1\r\n${host}\r\nnonsense\r\n\r\n`],
    [400, "an empty name", `GET / HTTP/1.1\r\n${host}\r\n: x\r\n\r\n`],
    [400, "two blanks in the request line", `GET  / HTTP/1.1\r\n${host}\r\n\r\n`],
    [400, "a blank in the target", `GET /a b HTTP/1.1\r\n${host}\r\n\r\n`],
    [400, "a tab in the target", `GET /a\tb HTTP/1.1\r\n${host}\r\n\r\n`],
    [400, "no version", `GET /\r\n${host}\r\n\r\n`],
    [505, "another version", `GET / HTTP/1.2\r\n${host}\r\n\r\n`],
    // Chunks (F28).
    [
      400,
      "a chunk extension",
      `POST / HTTP/1.1\r\n${host}\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n0\r\n\r\n`,
    ],
    [400, "a chunk size in LF", `POST / HTTP/1.1\r\n${host}\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n`],
    [400, "a chunk size past 32 bits", `POST / HTTP/1.1\r\n${host}\r\nTransfer-Encoding: chunked\r\n\r\n100000000\r\n`],
    [400, "a negative chunk size", `POST / HTTP/1.1\r\n${host}\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n`],
    [
      400,
      "a chunk longer than its size",
      `POST / HTTP/1.1\r\n${host}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n`,
    ],
    [
      400,
      "a request in the trailers",
      `POST / HTTP/1.1\r\n${host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n${smuggled}`,
    ],
    // 60
    [400, "no Host", "GET / HTTP/1.1\r\n\r\n"],
    [400, "no Host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n"],
    [400, "two Hosts", `GET / HTTP/1.1\r\n${host}\r\nHost: other.localhost\r\n\r\n`],
    [400, "the same Host twice", `GET / HTTP/1.1\r\n${host}\r\n${host}\r\n\r\n`],
    [400, "an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n"],
    [400, "a Host with userinfo", "GET / HTTP/1.1\r\nHost: user@app.localhost\r\n\r\n"],
    [400, "a Host with a path", "GET / HTTP/1.1\r\nHost: app.localhost/x\r\n\r\n"],
    [400, "a Host with a port that is none", "GET / HTTP/1.1\r\nHost: app.localhost:99999\r\n\r\n"],
    [400, "a Host with a word for a port", "GET / HTTP/1.1\r\nHost: app.localhost:http\r\n\r\n"],
    [400, "a Host of 300 bytes", `GET / HTTP/1.1\r\nHost: ${"a".repeat(300)}.localhost\r\n\r\n`],
    [400, "a Host with a comma", "GET / HTTP/1.1\r\nHost: app.localhost,other\r\n\r\n"],
    [400, "a Host with two dots", "GET / HTTP/1.1\r\nHost: app..localhost\r\n\r\n"],
    [404, "a Host that is an address", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"],
    [404, "a Host that is an IPv6 address", "GET / HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\n\r\n"],
    [404, "a Host that nobody has", "GET / HTTP/1.1\r\nHost: other.localhost\r\nConnection: close\r\n\r\n"],
    [404, "a Host that is a member of every object", "GET / HTTP/1.1\r\nHost: __proto__\r\nConnection: close\r\n\r\n"],
    // 61
    [400, "an absolute target of another host", `GET http://victim/ HTTP/1.1\r\n${host}\r\n\r\n`],
    [400, "an absolute target with userinfo", `GET http://app.localhost@victim/ HTTP/1.1\r\n${host}\r\n\r\n`],
    [400, "an absolute target of another scheme", `GET ftp://app.localhost/ HTTP/1.1\r\n${host}\r\n\r\n`],
    [400, "a target that is no path", `GET app.localhost HTTP/1.1\r\n${host}\r\n\r\n`],
    [400, "a fragment", `GET /#x HTTP/1.1\r\n${host}\r\n\r\n`],
    [400, "OPTIONS *", `OPTIONS * HTTP/1.1\r\n${host}\r\n\r\n`],
    // 62
    [405, "CONNECT", `CONNECT app.localhost:80 HTTP/1.1\r\n${host}\r\nConnection: close\r\n\r\n`],
    [405, "TRACE", `TRACE / HTTP/1.1\r\n${host}\r\nConnection: close\r\n\r\n`],
    [505, "the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    [400, "a method of 1 KB", `${"A".repeat(1024)} / HTTP/1.1\r\n${host}\r\n\r\n`],
    [400, "a method that is no token", `GE(T / HTTP/1.1\r\n${host}\r\n\r\n`],
    [400, "TLS to this port", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
    // 64
    [414, "a URL of 64 KB", `GET /${"a".repeat(65_536)} HTTP/1.1\r\n${host}\r\n\r\n`],
    [414, "a URL just past 16 KB", `GET /${"a".repeat(16_384)} HTTP/1.1\r\n${host}\r\n\r\n`],
    [414, "a URL without end", `GET /${"a".repeat(140_000)}`],
    [431, "300 headers", `GET / HTTP/1.1\r\n${host}\r\n${"A: b\r\n".repeat(300)}\r\n`],
    [431, "a header of 140 KB", `GET / HTTP/1.1\r\n${host}\r\nA: ${"a".repeat(140_000)}\r\n\r\n`],
    [431, "a header without end", `GET / HTTP/1.1\r\n${host}\r\nA: ${"a".repeat(140_000)}`],
  ];

  test.each(cases)("%i for %s", async (status, _what, request) => {
    const before = headsSoFar();
    const received = await rig.raw(request);
    expect(readResponse(received)).toMatchObject({ status });
    expect(received).not.toContain("reached");
    // A request that is refused while its body comes may have begun; what it tried to smuggle has not.
    expect(app.heads.slice(before).filter((head) => !head.startsWith("POST / "))).toEqual([]);
    expect(app.received).not.toContain("smuggled");
  });

  test("the same, a byte at a time", async () => {
    for (const [status, what, request] of cases) {
      if (request.length > 500) continue;
      using client = await RawClient.to(rig.port);
      for (const byte of request) {
        if (client.ending !== undefined) break;
        client.write(byte);
        await new Promise((resolve) => setImmediate(resolve));
      }
      await client.closed();
      expect.soft(Number(client.received.slice(9, 12)), what).toBe(status);
    }
    expect(app.received).not.toContain("smuggled");
  });
});

test("what is allowed passes", async () => {
  const passes = [
    `GET / HTTP/1.1\r\n${host}\r\nConnection: close\r\n\r\n`,
    `\r\nGET / HTTP/1.1\r\n${host}\r\nConnection: close\r\n\r\n`,
    "GET / HTTP/1.1\r\nHOST:APP.localhost.:8787\r\nConnection: close\r\n\r\n",
    `GET http://APP.localhost/ HTTP/1.1\r\n${host}\r\nConnection: close\r\n\r\n`,
    `GET http://app.localhost?q HTTP/1.1\r\n${host}\r\nConnection: close\r\n\r\n`,
    `GET /${"a".repeat(16_383)} HTTP/1.1\r\n${host}\r\nConnection: close\r\n\r\n`,
    `GET / HTTP/1.1\r\n${host}\r\nA: ${"a".repeat(120_000)}\r\nConnection: close\r\n\r\n`,
    `GET / HTTP/1.1\r\n${host}\r\n${"A: b\r\n".repeat(190)}Connection: close\r\n\r\n`,
    `GET / HTTP/1.0\r\n${host}\r\n\r\n`,
    `M-SEARCH / HTTP/1.1\r\n${host}\r\nConnection: close\r\n\r\n`,
  ];
  for (const request of passes) expect.soft(await statusOf(request), request.slice(0, 80)).toBe(200);
  expect(app.heads).toContainEqual(expect.stringMatching(/^GET \/\?q HTTP\/1\.1\r\nhost: app\.localhost\r\n/));
  expect(app.heads).toContainEqual(expect.stringMatching(/^GET \/ HTTP\/1\.1\r\nhost: APP\.localhost\.:8787\r\n/));
});

// 63: a path is the Worker's business, byte for byte.
test.each([
  "/../../etc/passwd",
  "/%2e%2e/",
  "//evil",
  "/\\evil",
  "/%00",
  "/a?b=http://x/&c=%0d%0a",
  "/__scheduled",
  "/_internal",
  "/CDN-CGI/x",
])("the path %s passes as it is", async (path) => {
  const before = headsSoFar();
  expect(await rig.get(path)).toMatchObject({ status: 200 });
  expect(app.heads[before]).toMatch(`GET ${path} HTTP/1.1\r\n`);
});

// 72
test("paths of the platform never reach a Worker", async () => {
  const before = headsSoFar();
  expect(await rig.get("/cdn-cgi/anything")).toMatchObject({ status: 404 });
  expect(headsSoFar()).toBe(before);
});

// 67
test("what a client says about itself is replaced", async () => {
  const before = headsSoFar();
  await rig.get("/", [
    "X-Forwarded-For: 127.0.0.1",
    "X-Forwarded-Host: evil",
    "X-Forwarded-Proto: https",
    "X-Real-IP: 1.2.3.4",
    "True-Client-IP: 1.2.3.4",
    "CF-Connecting-IP: 1.2.3.4",
    "Forwarded: for=1.2.3.4;host=evil",
    "CF-Ray: forged",
    "CF-Visitor: {}",
    "CF-IPCountry: CH",
    "CF-Worker: evil",
    "CF-EW-Via: 15",
    "CDN-Loop: solum; loops=16",
    "Cf-Access-Jwt-Assertion: forged",
    "CF-Anything: x",
    "cf-aig-authorization: kept",
    "X-Solum-Cf: {}",
    "X-Solum-Proto: https",
    "X-Solum-Else: x",
    "X-Bind: service:w-app:acc%2Fapp:mac",
    "Proxy-Authorization: x",
    "Proxy-Connection: keep-alive",
    "TE: trailers",
    "Keep-Alive: 5",
    "Upgrade: h2c",
    "Connection: X-Hop",
    "X-Hop: gone",
    "X-Own: kept",
  ]);
  const lines = app.heads[before]?.split("\r\n").slice(1).filter(Boolean) ?? [];
  const cf = lines.findIndex((line) => line.startsWith("x-solum-cf: "));
  expect(JSON.parse(lines[cf]?.slice("x-solum-cf: ".length) ?? "")).toMatchObject({ httpProtocol: "HTTP/1.1" });
  expect(lines.toSpliced(cf, 1)).toEqual([
    "host: app.localhost",
    "cf-aig-authorization: kept",
    "x-own: kept",
    "cf-connecting-ip: 127.0.0.1",
    "x-forwarded-for: 127.0.0.1",
    "x-real-ip: 127.0.0.1",
    "x-forwarded-proto: http",
    'cf-visitor: {"scheme":"http"}',
    "cf-ipcountry: XX",
    "cdn-loop: solum; loops=1",
    "x-solum-proto: http",
    expect.stringMatching(/^cf-ray: [0-9a-f]{16}-SOL$/),
  ]);
});

test("several Cookie fields become one, as browsers mean them", async () => {
  const before = headsSoFar();
  await rig.get("/", ["Cookie: a=1", "Cookie: b=2; c=3"]);
  expect(app.heads[before]).toContain("\r\ncookie: a=1; b=2; c=3\r\n");
});

// 68
test("an upgrade to anything but WebSocket is ignored, and one with a body", async () => {
  const before = headsSoFar();
  await rig.get("/", ["Upgrade: h2c", "HTTP2-Settings: x"]);
  await rig.raw(
    `POST / HTTP/1.1\r\n${host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 1\r\n\r\nx`.replace(
      "Upgrade\r\nContent",
      "Upgrade, close\r\nContent",
    ),
  );
  expect(app.heads[before]).not.toMatch(/upgrade/i);
  expect(app.heads[before + 1]).not.toMatch(/upgrade/i);
});

test("a refused request leaves the connection usable when nothing of it is left", async () => {
  using client = await rig.client();
  client.write("GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n".repeat(3) + `GET / HTTP/1.1\r\n${host}\r\n\r\n`);
  await client.until((text) => text.endsWith("reached"));
  expect(readResponses(client.received).map(({ status }) => status)).toEqual([404, 404, 404, 200]);
});

// 71
test("a packed body passes packed, whatever it would unpack to", async () => {
  const packed = gzipSync(Buffer.alloc(10_000_000));
  const before = app.received.length;
  const answer = await rig.raw(
    `POST / HTTP/1.1\r\n${host}\r\nContent-Encoding: gzip\r\nContent-Length: ${packed.length}\r\nConnection: close\r\n\r\n${packed.toString("latin1")}`,
  );
  expect(readResponse(answer)).toMatchObject({ status: 200 });
  expect(app.received.length - before).toBeLessThan(packed.length + 4096);
});

test("a client that closes its side in the middle of a head or of a body is let go", async () => {
  const before = headsSoFar();
  for (const start of [
    "GET / HTTP/1.1\r\nHost: app",
    `POST / HTTP/1.1\r\n${host}\r\nX: chunked\r\nContent-Length: 10\r\n\r\nabc`,
  ]) {
    using client = await rig.client();
    client.write(start);
    client.socket.end();
    await client.closed();
    expect(client.received).toBe("");
  }
  await rig.quiet();
  expect(headsSoFar() - before).toBeLessThanOrEqual(1);
});

test("what is private between us and the platform's processes is in no answer", async () => {
  await using leaky = await FakeUpstream.listen(rig.socket("leaky"), (connection) =>
    connection.send(response("ok", ["X-Solum-Cf: {}", "x-solum-proto: http", "X-Own: kept", "CF-Ray: forged"])),
  );
  await rig.route({ app: [app.path], leaky: [leaky.path] });
  const { head } = await rig.get("/", [], "leaky.localhost");
  expect(head).not.toMatch(/x-solum|forged/i);
  expect(head).toContain("X-Own: kept");
});

test("nothing is left behind", async () => {
  await rig.quiet();
  await pollUntil({ ms: 10_000, everyMs: 5, what: "all clients to be gone" }, () =>
    rig.ingress.open().connections === 0 ? true : undefined,
  );
});
