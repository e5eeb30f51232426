import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, type ClientHttp2Session, type OutgoingHttpHeaders } from "node:http2";
import { connect as connectTls } from "node:tls";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { IngressRig } from "../../test/support/ingress-rig.ts";
import { RawClient } from "../../test/support/raw-client.ts";
import { selfSigned } from "../../test/support/self-signed.ts";
import { clientFrame, openingRequest, serverMessages } from "../../test/support/websocket-frames.ts";
import { startWorker, type WorkerdProcess } from "../../test/support/workerd-process.ts";

/** A real Worker behind HTTPS and HTTP/2. */

const code = `export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/echo") return new Response(request.body);
    if (pathname === "/throw") throw new Error("secret");
    if (pathname === "/events") {
      let n = 0;
      return new Response(new ReadableStream({
        async pull(controller) {
          if (n === 20) return controller.close();
          controller.enqueue(new TextEncoder().encode("data: " + n++ + "\\n\\n"));
          await new Promise((resolve) => setTimeout(resolve, 5));
        },
      }), { headers: { "content-type": "text/event-stream" } });
    }
    if (pathname === "/ws") {
      const [client, server] = Object.values(new WebSocketPair());
      server.accept();
      server.addEventListener("message", ({ data }) => server.send(data));
      return new Response(null, { status: 101, webSocket: client });
    }
    return Response.json({ url: request.url, cf: request.cf, headers: Object.fromEntries(request.headers) });
  },
};`;

const folder = mkdtempSync(join(tmpdir(), "solum-tw-"));
const { cert, key } = selfSigned("app.localhost");
let rig: IngressRig;
let workerd: WorkerdProcess;
let session: ClientHttp2Session;

beforeAll(async () => {
  const files = { cert: join(folder, "cert.pem"), key: join(folder, "cert.key") };
  writeFileSync(files.cert, cert);
  writeFileSync(files.key, key);
  rig = await IngressRig.start({ tls: { port: 0, certificates: [files] } });
  workerd = await startWorker({ folder: rig.folder, name: "app", code, socket: rig.socket("app") });
  await rig.route({ app: [rig.socket("app")] });
  session = connect(`https://127.0.0.1:${rig.ingress.tlsPort}`, { ca: cert, servername: "app.localhost" });
});

afterAll(async () => {
  await rig.quiet();
  session.destroy();
  await workerd.kill();
  await rig[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function open(path: string, headers: OutgoingHttpHeaders = {}) {
  return session.request({ ":authority": "app.localhost:8443", ":path": path, ...headers }, { endStream: false });
}

test("sees an https address and how it is protected, and nothing private", async () => {
  const stream = open("/path?q=1");
  stream.end();
  const seen = JSON.parse(await text(stream)) as { url: string; cf: object; headers: Record<string, string> };
  expect(seen.url).toBe("https://app.localhost:8443/path?q=1");
  expect(seen.cf).toMatchObject({ httpProtocol: "HTTP/2", tlsVersion: "TLSv1.3" });
  expect(seen.headers).toMatchObject({ "x-forwarded-proto": "https", "cf-visitor": '{"scheme":"https"}' });
  expect(Object.keys(seen.headers).filter((name) => name.startsWith("x-solum"))).toEqual([]);
});

test("events come one by one", async () => {
  const stream = open("/events");
  stream.end();
  let pieces = 0;
  let all = "";
  stream.on("data", (piece: Buffer) => {
    pieces++;
    all += piece.toString("utf8");
  });
  await once(stream, "end");
  expect(all).toBe(Array.from({ length: 20 }, (_, n) => `data: ${n}\n\n`).join(""));
  expect(pieces).toBeGreaterThan(5);
});

test("20 MB go up and come back while they go", { timeout: 60_000 }, async () => {
  const stream = open("/echo", { ":method": "POST" });
  const piece = Buffer.alloc(256 * 1024, "z");
  const size = 20 * 1024 * 1024;
  let came = 0;
  stream.on("data", (bytes: Buffer) => (came += bytes.length));
  for (let sent = 0; sent < size; sent += piece.length) if (!stream.write(piece)) await once(stream, "drain");
  stream.end();
  await once(stream, "end");
  expect(came).toBe(size);
});

test("an exception is Cloudflare's page", async () => {
  const stream = open("/throw");
  stream.end();
  expect(await text(stream)).toContain("error code: 1101");
});

test("a WebSocket opens over TLS and carries messages", async () => {
  const socket = connectTls({
    port: rig.ingress.tlsPort,
    host: "127.0.0.1",
    servername: "app.localhost",
    ca: cert,
    ALPNProtocols: ["http/1.1"],
  });
  using client = new RawClient(socket);
  client.write(openingRequest("app.localhost", "/ws"));
  await client.until((received) => received.includes("\r\n\r\n"));
  const messages = ["hello", "x".repeat(200_000)];
  for (const message of messages) client.write(clientFrame(message));
  await client.until((received) => serverMessages(received).length === 2);
  expect(serverMessages(client.received)).toEqual(messages);
  expect(rig.ingress.open()).toMatchObject({ webSockets: 1 });
  socket.destroy();
  await pollUntil({ ms: 10_000, everyMs: 2, what: "it to be forgotten" }, () =>
    rig.ingress.open().webSockets === 0 ? true : undefined,
  );
});
