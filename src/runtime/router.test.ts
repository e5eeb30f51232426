import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTcpServer, type AddressInfo } from "node:net";
import { once } from "node:events";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createWireServer } from "#http/wire/server.ts";
import { readCapability } from "#core/capability.ts";
import { egressConfig, type EgressRules } from "#runtime/egress-config.ts";
import { egressExplainHandler, egressExplainPath } from "#runtime/egress-explain.ts";
import { privateHeaders } from "#runtime/routes.ts";
import type { RouterSettings } from "#runtime/router-settings.ts";
import {
  runVersion,
  testCapabilityKey,
  testRouter,
  testWorkerId,
  type RunningVersion,
} from "../../test/support/worker-version.ts";
import { startWorkerd, temporaryFolder, type TestWorkerd } from "../../test/support/workerd.ts";

/** A Worker that runs what it is sent: the body of a function of `env`, `ctx` and `connect`. */
const runner = `
  import { connect } from "cloudflare:sockets";
  const tell = (error) => ({ name: error.name, message: error.message });
  const programs = PROGRAMS;
  export default { async fetch(request, env, ctx) {
    const url = new URL(request.url);
    try { return Response.json(await programs[url.pathname.slice(1)](url.searchParams.get("at"), connect) ?? null) } catch (error) { return Response.json(tell(error)) }
  } }`;

const programs: Record<string, string> = {
  get: "const r = await fetch(at, { cf: { colo: 'SOL' } }); return { status: r.status, headers: [...r.headers.keys()], body: await r.text(), url: r.url, redirected: r.redirected }",
  manual:
    "const r = await fetch(at, { redirect: 'manual' }); return { status: r.status, location: r.headers.get('location') }",
  error: "await fetch(at, { redirect: 'error' })",
  head: "const r = await fetch(at, { method: 'HEAD' }); return [r.status, r.headers.get('x-length'), await r.text()]",
  echo: "const r = await fetch(at, { method: 'POST', body: 'x'.repeat(3000000), headers: { 'x-mine': '1' } }); return [(await r.text()).length, r.status]",
  stream:
    "const { readable, writable } = new IdentityTransformStream(); const r = fetch(at, { method: 'POST', body: readable }); const w = writable.getWriter(); const reader = (await r).body.getReader(); const got = []; for (const text of ['one', 'two']) { await w.write(new TextEncoder().encode(text)); got.push(new TextDecoder().decode((await reader.read()).value)) } await w.close(); return got",
  websocket:
    "const r = await fetch(at, { headers: { upgrade: 'websocket' } }); const ws = r.webSocket; ws.accept(); const got = new Promise((y) => ws.addEventListener('message', (e) => y(e.data))); ws.send('hello'); return [r.status, await got]",
  socket:
    "const ws = new WebSocket(at); return await new Promise((y, n) => { ws.addEventListener('open', () => ws.send('hello')); ws.addEventListener('message', (e) => y(e.data)); ws.addEventListener('error', (e) => n(e.error ?? new Error(e.message))) })",
  tcp: "const s = connect(at); await s.opened; const r = s.readable.getReader(); const hello = new TextDecoder().decode((await r.read()).value); const w = s.writable.getWriter(); await w.write(new TextEncoder().encode('abc')); const echo = new TextDecoder().decode((await r.read()).value); await w.close(); await s.close(); return hello + echo",
  tls: "const s = connect(at, { secureTransport: 'on' }); await s.opened; return 'open'",
  starttls:
    "const s = connect(at, { secureTransport: 'starttls' }); await s.opened; const t = s.startTls(); await t.opened; await t.readable.getReader().read(); return 'upgraded'",
  cache:
    "const c = caches.default; const r = new Response('x', { headers: { 'cache-control': 'max-age=60' } }); await c.put('http://a.example/', r); const named = await caches.open('n'); await named.put('http://a.example/', new Response('y'.repeat(100000))); return [await c.match('http://a.example/') ?? 'none', await c.delete('http://a.example/'), await named.match('http://a.example/') ?? 'none']",
};
const source = runner.replace(
  "PROGRAMS",
  `{ ${Object.entries(programs)
    .map(([name, body]) => `${name}: async (at, connect) => { ${body} }`)
    .join(", ")} }`,
);

const closed: EgressRules = { allow: ["public"], deny: [], ownAddresses: ["192.0.2.77"] };
const open: EgressRules = { allow: ["public", "local"], deny: ["127.0.0.2/32"], ownAddresses: ["192.0.2.77"] };

let origin: Server;
let port: number;
let tcpPort: number;
const tcp = createTcpServer((socket) => {
  socket.on("error", () => socket.destroy());
  socket.write("hello ");
  socket.pipe(socket);
});

beforeAll(async () => {
  origin = createServer(answer);
  origin.on("upgrade", (request, socket) => {
    socket.on("error", () => socket.destroy());
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptOf(request)}\r\n\r\n`,
    );
    socket.once("data", () => socket.write(Buffer.from([0x81, 2, 0x68, 0x69])));
  });
  for (const server of [origin, tcp]) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  }
  port = (origin.address() as AddressInfo).port;
  tcpPort = (tcp.address() as AddressInfo).port;
});

afterAll(() => {
  origin.closeAllConnections();
  origin.close();
  tcp.close();
});

function answer(request: IncomingMessage, response: ServerResponse): void {
  if (request.url === "/redirect") response.writeHead(302, { location: "/after" }).end();
  else if (request.url === "/to-loopback") response.writeHead(302, { location: `http://127.0.0.2:${port}/` }).end();
  else if (request.url === "/500") response.writeHead(500, { "x-real": "1" }).end("real 500");
  else if (request.url === "/gzip")
    response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync("zipped text"));
  else if (request.url === "/204") response.writeHead(204).end();
  else if (request.url === "/reset") request.socket.destroy();
  else if (request.method === "POST") {
    response.flushHeaders();
    request.pipe(response);
  } else
    response
      .setHeader("x-length", "3")
      .end(`${request.method} ${request.url} ${request.headers.host} ${JSON.stringify(request.headers)}`);
}

function acceptOf(request: IncomingMessage): string {
  const key = `${String(request.headers["sec-websocket-key"])}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
  return createHash("sha1").update(key).digest("base64");
}

/** A Worker whose egress process runs under `rules`. */
async function run(
  rules: EgressRules,
  settings: Partial<RouterSettings> = {},
): Promise<
  {
    worker: RunningVersion;
    egress: TestWorkerd;
    ask: (program: string, at: string) => Promise<unknown>;
  } & AsyncDisposable
> {
  const router = { ...testRouter, reachesLoopback: rules.allow.includes("local"), ...settings };
  const worker = await runVersion(
    { modules: [{ name: "index.js", source }] },
    {
      router,
      control: {
        [egressExplainPath]: egressExplainHandler({ capabilityKey: testCapabilityKey, workerId: testWorkerId, rules }),
      },
    },
  );
  const folder = temporaryFolder();
  const egress = await startWorkerd({
    folder: folder.path,
    text: egressConfig({ socket: worker.layout.egress, rules }),
  });
  return {
    worker,
    egress,
    ask: async (program, at) => JSON.parse((await worker.get(`/${program}?at=${encodeURIComponent(at)}`)).body),
    async [Symbol.asyncDispose]() {
      await egress.stop();
      await worker[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

describe("what leaves", () => {
  test("reaches the server and comes back as it was sent", async () => {
    await using outside = await run(open);
    const at = `http://127.0.0.1:${port}`;
    const got = (await outside.ask("get", `${at}/path?q=1`)) as { status: number; headers: string[]; body: string };
    expect(got.status).toBe(200);
    expect(got.body).toMatch(`GET /path?q=1 127.0.0.1:${port}`);
    expect(got.body).not.toMatch(/solum|x-bind/);
    expect(got.headers.join()).not.toMatch(/solum|x-bind/);
    expect(await outside.ask("get", `${at}/redirect`)).toMatchObject({
      status: 200,
      url: `${at}/after`,
      redirected: true,
    });
    expect(await outside.ask("manual", `${at}/redirect`)).toEqual({ status: 302, location: "/after" });
    expect(await outside.ask("error", `${at}/redirect`)).toMatchObject({ name: "TypeError" });
    expect(await outside.ask("get", `${at}/500`)).toMatchObject({ status: 500, body: "real 500" });
    expect(await outside.ask("get", `${at}/gzip`)).toMatchObject({ body: "zipped text" });
    expect(await outside.ask("get", `${at}/204`)).toMatchObject({ status: 204, body: "" });
    expect(await outside.ask("head", at)).toEqual([200, "3", ""]);
    expect(await outside.ask("echo", at)).toEqual([3_000_000, 200]);
    expect(await outside.ask("stream", at)).toEqual(["one", "two"]);
    expect(await outside.ask("websocket", at)).toEqual([101, "hi"]);
    expect(await outside.ask("socket", at.replace("http", "ws"))).toBe("hi");
  });

  test.each([
    ["loopback", "http://127.0.0.1:9/", "egressAllow is [public] and 127.0.0.1 is this machine's loopback"],
    [
      "loopback in disguise",
      "http://2130706433:9/",
      "egressAllow is [public] and 127.0.0.1 is this machine's loopback",
    ],
    ["IPv6 loopback", "http://[::1]:9/", "egressAllow is [public] and ::1 is this machine's loopback"],
    ["mapped loopback", "http://[::ffff:127.0.0.1]:9/", "this machine's loopback"],
    ["a private address", "http://10.0.0.1/", "egressAllow is [public] and 10.0.0.1 is a private address"],
    ["metadata", "http://169.254.169.254/latest/meta-data/", "169.254.169.254 is a reserved or metadata address"],
    ["this machine by its own address", "http://192.0.2.77:9555/", "192.0.2.77 is this machine itself"],
    [
      "the benchmark block that workerd calls public",
      "http://198.18.0.1/",
      "198.18.0.1 is a reserved or metadata address",
    ],
    ["NAT64 of loopback", "http://[64:ff9b::7f00:1]/", "64:ff9b::7f00:1 is a reserved or metadata address"],
    ["a mapped private address", "http://[::ffff:10.0.0.1]/", "is a private address"],
    ["mapped metadata", "http://[::ffff:169.254.169.254]/", "is a reserved or metadata address"],
    ["6to4 of loopback", "http://[2002:7f00:1::]/", "is a reserved or metadata address"],
    ["the unspecified address", "http://0.0.0.0:9/", "is this machine's loopback"],
    ["the unspecified IPv6 address", "http://[::]:9/", "is this machine's loopback"],
    ["a name that is loopback", "http://localhost:9/", "is this machine's loopback"],
  ])("is refused with the rule: %s", async (_name, at, rule) => {
    await using outside = await run(closed);
    const refusal = (await outside.ask("get", at)) as { name: string; message: string };
    expect(refusal.name).toBe("TypeError");
    expect(refusal.message).toMatch(/^fetch to .*:\d+ failed: refused, /);
    expect(refusal.message).toContain(rule);
    // The explanation is ours; that nothing left is workerd's doing.
    expect(outside.egress.output.stderr).toMatch(/connecting to .* is not allowed/);
  });

  test("is refused after a redirect too", async () => {
    await using outside = await run(open);
    expect(await outside.ask("get", `http://127.0.0.1:${port}/to-loopback`)).toEqual({
      name: "TypeError",
      message: `fetch to 127.0.0.2:${port} failed: refused, egressDeny covers 127.0.0.2`,
    });
  });

  test("says what went wrong on the way", async () => {
    await using outside = await run(open);
    const free = createTcpServer().listen(0, "127.0.0.1");
    await once(free, "listening");
    const { port: unused } = free.address() as AddressInfo;
    free.close();
    await once(free, "close");
    const message = async (at: string) => ((await outside.ask("get", at)) as { message: string }).message;
    expect(await message(`http://127.0.0.1:${unused}/`)).toBe(
      `fetch to 127.0.0.1:${unused} failed: 127.0.0.1 port ${unused}: connection refused`,
    );
    expect(await message("http://does-not-exist.invalid/")).toMatch(
      /^fetch to does-not-exist.invalid:80 failed: the name does-not-exist.invalid does not resolve \((ENOTFOUND|EAI_AGAIN)\)$/,
    );
    expect(await message(`http://127.0.0.1:${port}/reset`)).toMatch(
      /accepts connections, but it closed the connection without an answer$/,
    );
    expect(await message(`https://127.0.0.1:${port}/`)).toMatch(
      /accepts connections, but the TLS handshake or the answer failed$/,
    );
    await outside.worker.stopLogs();
    expect(await message("http://169.254.169.254/")).toBe("fetch to 169.254.169.254:80 failed: the connection failed");
  });
});

describe("the platform's own addresses", () => {
  test("go to the ingress with scheme, cf and the router's capability", async () => {
    await using outside = await run(closed);
    await using platform = createWireServer((request) => ({
      status: 200,
      body: JSON.stringify([
        request.header("host"),
        request.target,
        request.header(privateHeaders.proto),
        request.header(privateHeaders.cf),
        readCapability(testCapabilityKey, request.header("x-bind") ?? "")?.kind,
      ]),
    }));
    await platform.listen(outside.worker.layout.platform);
    const cf = '{"colo":"SOL"}';
    const at = async (url: string) => JSON.parse(((await outside.ask("get", url)) as { body: string }).body) as unknown;
    expect(await at("http://other.localhost:8787/x?y")).toEqual([
      "other.localhost:8787",
      "/x?y",
      "http",
      cf,
      "platform",
    ]);
    expect(await at("https://API.preview.localhost:8787/")).toEqual([
      "api.preview.localhost:8787",
      "/",
      "https",
      cf,
      "platform",
    ]);
    expect(await at("http://localhost:8787/client/v4")).toEqual([
      "localhost:8787",
      "/client/v4",
      "http",
      cf,
      "platform",
    ]);
    // Another port of the same name is no address of the platform.
    expect(await outside.ask("get", "http://other.localhost:8788/")).toMatchObject({ name: "TypeError" });
  });

  test("are not reached past the ingress, even where loopback may be", async () => {
    await using outside = await run(open, { listenPort: port, ports: [8787] });
    const refusal = {
      name: "TypeError",
      message: expect.stringContaining("failed: this is Solum's own port") as string,
    };
    for (const host of [
      "127.0.0.1",
      "127.1",
      "[::1]",
      "[::ffff:127.0.0.1]",
      "0.0.0.0",
      "192.0.2.77",
      "localhost.",
      "any.localhost",
    ]) {
      expect(await outside.ask("get", `http://${host}:${port}/`), host).toEqual(refusal);
      expect(await outside.ask("tcp", `${host}:${port}`), host).toHaveProperty("name");
    }
    expect(await outside.ask("tcp", `127.0.0.1:${tcpPort}`)).toBe("hello abc");
  });
});

describe("connect()", () => {
  test("passes TCP connections, and rejects `opened` when one is refused", async () => {
    // Passing through natively is what happens wherever loopback is closed; the egress process of this test lets it be reached.
    await using outside = await run(open, { reachesLoopback: false });
    expect(await outside.ask("tcp", `127.0.0.1:${tcpPort}`)).toBe("hello abc");
    const failed = {
      name: "Error",
      message: expect.stringContaining("cannot connect to the specified address") as string,
    };
    expect(await outside.ask("tcp", `127.0.0.2:${tcpPort}`)).toEqual(failed);
    expect(await outside.ask("tcp", "10.0.0.1:80")).toEqual(failed);
    expect(await outside.ask("tcp", "does-not-exist.invalid:80")).toEqual(failed);
    expect(await outside.ask("tcp", `unix:${outside.worker.layout.log}`)).toMatchObject({
      name: expect.any(String) as string,
    });
  });

  // workerd has no TLS for connections that leave through an HTTP proxy: "This HttpClient does not support TLS".
  test("has no TLS", async () => {
    await using outside = await run(open, { reachesLoopback: false });
    expect(await outside.ask("tls", `127.0.0.1:${tcpPort}`)).toMatchObject({ name: "Error" });
    expect(await outside.ask("starttls", `127.0.0.1:${tcpPort}`)).toMatchObject({
      name: "Error",
      message: "startTls() is not supported on this connection.",
    });
  });
});

test("a Worker that passes its own request on does not go round for ever", async () => {
  await using worker = await runVersion({
    modules: [
      {
        name: "index.js",
        source: `export default { async fetch(request, env, ctx) { if (request.url.endsWith("/on")) return fetch(request); ctx.passThroughOnException(); throw new Error("always") } }`,
      },
    ],
  });
  let rounds = 0;
  // Stands for the ingress, which would send the request to the same Worker.
  await using platform = createWireServer(async (request) => {
    rounds++;
    const headers = {
      "cdn-loop": request.header("cdn-loop") ?? "",
      [privateHeaders.cf]: request.header(privateHeaders.cf) ?? "",
    };
    const { status, body } = await worker.get(request.target, { headers });
    return { status, body };
  });
  await platform.listen(worker.layout.platform);
  for (const path of ["/on", "/exception"]) {
    rounds = 0;
    const { status } = await worker.get(path, { headers: { [privateHeaders.cf]: '{"colo":"SOL"}' } });
    expect([path, status, rounds]).toEqual([path, 500, 8]);
  }
});

test("the Cache API takes everything and has nothing", async () => {
  await using outside = await run(closed);
  expect(await outside.ask("cache", "")).toEqual(["none", false, "none"]);
});
