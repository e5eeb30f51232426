import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { connect as connectPlain } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { startIngress } from "#ingress/server.ts";
import type { IngressLimits } from "#ingress/limits.ts";
import { answering, response } from "../../test/support/fake-upstream.ts";
import { IngressRig, tableOf } from "../../test/support/ingress-rig.ts";
import { RawClient, readResponse } from "../../test/support/raw-client.ts";
import { selfSigned } from "../../test/support/self-signed.ts";

/** HTTP/1.1 on the protected port: the same pipeline behind another socket. */

let folder: string;
let rig: IngressRig;
let trusted: string[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "solum-tls-"));
  trusted = [];
});

afterEach(async () => {
  await rig[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function writeCertificate(name: string, ...hosts: string[]): { cert: string; key: string } {
  const { cert, key } = selfSigned(...hosts);
  const files = { cert: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) };
  writeFileSync(files.cert, cert);
  writeFileSync(files.key, key);
  trusted.push(cert);
  return files;
}

async function start(limits: Partial<IngressLimits> = {}): Promise<void> {
  const certificates = [
    writeCertificate("first", "app.localhost", "other.localhost", "*.apps.example"),
    writeCertificate("shop", "shop.example"),
  ];
  rig = await IngressRig.start({ tls: { port: 0, certificates } }, limits);
}

function options(servername: string | undefined, more: ConnectionOptions = {}): ConnectionOptions {
  return {
    port: rig.ingress.tlsPort,
    host: "127.0.0.1",
    ca: trusted,
    ALPNProtocols: ["http/1.1"],
    ...(servername === undefined ? { checkServerIdentity: () => undefined } : { servername }),
    ...more,
  };
}

/** A connection on which bytes are sent as they are. */
async function raw(servername: string | undefined = "app.localhost", more: ConnectionOptions = {}): Promise<RawClient> {
  const socket = connect(options(servername, more));
  const client = new RawClient(socket);
  await once(socket, "secureConnect");
  return client;
}

async function until(ready: () => boolean, what: string): Promise<void> {
  await pollUntil({ ms: 10_000, everyMs: 2, what }, () => ready() || undefined);
}

describe("HTTP/1.1 over TLS", () => {
  test("is answered by the Worker, which is told of https and of the connection's protection", async () => {
    await start();
    const app = await rig.fake(answering("hello"));
    const outgoing = request({ ...options("app.localhost"), path: "/x?y", headers: { host: "app.localhost:8443" } });
    outgoing.end();
    const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
    expect(await text(incoming)).toBe("hello");
    const [head = ""] = app.heads;
    expect(head).toContain("x-solum-proto: https\r\n");
    expect(head).toContain("x-forwarded-proto: https\r\n");
    expect(head).toContain('cf-visitor: {"scheme":"https"}\r\n');
    expect(head).toContain("host: app.localhost:8443\r\n");
    const cf = JSON.parse(/x-solum-cf: (.*)\r\n/.exec(head)?.[1] ?? "{}") as Record<string, unknown>;
    // The names are those that request.cf has on Cloudflare (workers/runtime-apis/request, tlsVersion and tlsCipher).
    expect(cf).toMatchObject({ httpProtocol: "HTTP/1.1", tlsVersion: "TLSv1.3" });
    expect(cf["tlsCipher"]).toMatch(/^AEAD-(AES(128|256)-GCM-SHA(256|384)|CHACHA20-POLY1305-SHA256)$/);
  });

  test("keeps connections, and refuses what the plain port refuses", async () => {
    await start();
    await rig.fake(answering("ok"));
    using client = await raw();
    client.write("GET /1 HTTP/1.1\r\nHost: app.localhost\r\n\r\nGET /2 HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    await client.until((received) => received.split("HTTP/1.1 200").length === 3);
    client.write("GET / HTTP/1.1\r\nHost: app.localhost\r\nHost: b.localhost\r\n\r\n");
    await client.closed();
    expect(client.received).toContain("HTTP/1.1 400 Bad Request");
  });

  test("carries a WebSocket", async () => {
    await start();
    await rig.fake((connection) => {
      connection.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
      connection.socket.on("data", (bytes) => connection.socket.write(`echo ${bytes.toString("latin1")}`));
    });
    using client = await raw();
    client.write("GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    await client.until((received) => received.includes("\r\n\r\n"));
    client.write("frame");
    await client.until((received) => received.endsWith("echo frame"));
    expect(rig.ingress.open()).toMatchObject({ requests: 0, webSockets: 1 });
    client.socket.destroy();
    await rig.quiet();
  });

  test("an answer without a length that is cut does not look complete", async (context) => {
    await start();
    const app = await rig.fake((connection) =>
      connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"),
    );
    const curl = await curlOrNothing();
    context.skip(curl === undefined, "there is no curl with HTTP/2 here");
    const answer = curl?.("--http1.0");
    await until(() => app.heads.length === 1, "the request");
    await app.kill();
    // TLS has a farewell of its own (RFC 8446 §6.1), but curl takes an end without it for the end of the answer.
    await expect(answer).rejects.toThrow(/reset|SSL_read/i);
  });

  test("holds back a client whose Worker does not read, and a Worker whose client does not", async () => {
    await start();
    const app = await rig.fake((connection) => connection.socket.pause());
    using up = await raw();
    const size = 16 * 1024 * 1024;
    up.write(`POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: ${size}\r\n\r\n`);
    const piece = Buffer.alloc(64 * 1024);
    for (let sent = 0; sent < size; sent += piece.length) up.socket.write(piece);
    await until(() => app.heads.length === 1, "the request");
    await until(() => up.socket.writableLength > size / 4, "the client to be held back");
    up.socket.destroy();
    await app.kill();
    await rig.quiet();
  });
});

describe("certificates", () => {
  test("are chosen by the name that the client says", async () => {
    await start();
    await rig.put({ ...tableOf({}), hosts: {} });
    const shown = async (servername: string | undefined) => {
      const client = await raw(servername, { rejectUnauthorized: false });
      const { subject } = (client.socket as TLSSocket).getPeerCertificate();
      client.socket.destroy();
      return subject.CN;
    };
    expect(await shown("app.localhost")).toBe("app.localhost");
    expect(await shown("SHOP.example")).toBe("shop.example");
    expect(await shown("unknown.test")).toBe("app.localhost");
    expect(await shown(undefined)).toBe("app.localhost");
  });

  // scale-reliability-security §3.3 row 66.
  test("stand for certain hosts: another one on the same connection is misdirected", async () => {
    await start();
    const app = await rig.fake(answering("app"));
    const table = tableOf({ app: [app.path] });
    await rig.put({ ...table, hosts: { ...table.hosts, "shop.example": table.hosts["app.localhost"]! } });
    const ask = async (servername: string | undefined, host: string) => {
      using client = await raw(servername, { rejectUnauthorized: false });
      client.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
      await client.closed();
      return readResponse(client.received).status;
    };
    expect(await ask("app.localhost", "app.localhost")).toBe(200);
    expect(await ask("other.localhost", "app.localhost")).toBe(200);
    expect(await ask("shop.example", "shop.example")).toBe(200);
    expect(await ask("a.apps.example", "b.apps.example")).toBe(404);
    expect(await ask("app.localhost", "shop.example")).toBe(421);
    expect(await ask("shop.example", "app.localhost")).toBe(421);
    expect(await ask(undefined, "shop.example")).toBe(421);
    expect(await ask(undefined, "app.localhost")).toBe(200);
  });

  test("are read anew when their files change, and what does not fit together leaves the earlier ones", async () => {
    await start({ certificateMs: 20 });
    await rig.fake(answering("ok"));
    const first = join(folder, "first.pem");
    const serial = async () => {
      const client = await raw("app.localhost", { rejectUnauthorized: false });
      const { serialNumber } = (client.socket as TLSSocket).getPeerCertificate();
      client.socket.destroy();
      return serialNumber;
    };
    const before = await serial();
    using open = await raw();
    writeFileSync(first, "not a certificate");
    // Longer than several looks would take: what is in force stays.
    for (let n = 0; n < 10; n++) expect(await serial()).toBe(before);
    writeCertificate("first", "app.localhost", "other.localhost", "*.apps.example");
    await pollUntil({ ms: 10_000, everyMs: 20, what: "another certificate" }, async () =>
      (await serial()) === before ? undefined : true,
    );
    // Who names no host is shown the new one too, and connections that are open go on.
    const nameless = await raw(undefined, { rejectUnauthorized: false });
    expect((nameless.socket as TLSSocket).getPeerCertificate().serialNumber).toBe(await serial());
    nameless.socket.destroy();
    open.write("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    await open.until((received) => received.endsWith("ok"));
  });

  test("that cannot be used at the start are an error that names them", async () => {
    await start();
    const files = { cert: join(folder, "missing.pem"), key: join(folder, "first.key") };
    await expect(
      startIngress({
        host: "127.0.0.1",
        port: 0,
        tls: { port: 0, certificates: [files] },
        consoleHost: "localhost",
        appDomain: "localhost",
        publicScheme: "http",
        colo: "SOL",
        requestBodyBytes: 1024,
        drainMs: 100,
        capabilityKey: Buffer.alloc(32),
        paths: {
          routes: join(folder, "r.json"),
          admin: join(folder, "a.sock"),
          console: join(folder, "c.sock"),
          platform: undefined,
        },
      }),
    ).rejects.toThrow(/missing\.pem/);
  });
});

describe("handshakes", () => {
  test("of TLS 1.1 fail, of 1.2 succeed", async () => {
    await start();
    const socket = connect(
      options("app.localhost", { maxVersion: "TLSv1.1", minVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0" }),
    );
    await expect(once(socket, "secureConnect")).rejects.toThrow();
    const client = await raw("app.localhost", { maxVersion: "TLSv1.2" });
    expect((client.socket as TLSSocket).getProtocol()).toBe("TLSv1.2");
    client.socket.destroy();
  });

  test("that do not end in time are closed, and count as connections meanwhile", async () => {
    await start({ handshakeMs: 100 });
    using silent = await RawClient.to(rig.ingress.tlsPort);
    await until(() => rig.ingress.open().connections === 1, "the connection to be counted");
    await silent.closed();
    await until(() => rig.ingress.open().connections === 0, "it to be forgotten");
  });

  test.each([
    ["plain HTTP", "GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n"],
    ["noise", "\x16\x03\x01\x00\x05hello"],
    ["a record without an end", "\x16\x03\x01\xff\xff"],
  ])("that are %s harm nobody", async (_what, bytes) => {
    await start({ handshakeMs: 200 });
    await rig.fake(answering("ok"));
    const socket = connectPlain({ port: rig.ingress.tlsPort, host: "127.0.0.1" });
    const client = new RawClient(socket);
    client.write(bytes);
    await client.closed();
    using good = await raw();
    good.write("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    await good.until((received) => received.endsWith("ok"));
  });
});

describe("a drain", () => {
  test("does not wait for handshakes that nobody ends, and takes no more", async () => {
    await start();
    using silent = await RawClient.to(rig.ingress.tlsPort);
    await until(() => rig.ingress.open().connections === 1, "the connection to be counted");
    const port = rig.ingress.tlsPort;
    expect(await rig.ingress.drain()).toEqual({ cutRequests: 0, cutWebSockets: 0 });
    await silent.closed();
    await expect(RawClient.to(port)).rejects.toThrow(/ECONNREFUSED/);
  });

  test("lets what is open over TLS end", async () => {
    await start();
    const app = await rig.fake(() => {});
    using client = await raw();
    client.write("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    await until(() => app.heads.length === 1, "the request");
    const drained = rig.ingress.drain();
    app.connections[0]?.send(response("late"));
    expect(await drained).toEqual({ cutRequests: 0, cutWebSockets: 0 });
    expect(readResponse(client.received).body).toBe("late");
  });
});

test("curl speaks HTTP/1.1 and HTTP/2 with it", async (context) => {
  await start();
  await rig.fake(answering("hello curl"));
  const curl = await curlOrNothing();
  context.skip(curl === undefined, "there is no curl with HTTP/2 here");
  expect(await curl?.("--http1.1")).toBe("hello curl 1.1");
  expect(await curl?.("--http2")).toBe("hello curl 2");
});

/** Asks the Worker with curl, where there is one that can do all that it is asked to. */
async function curlOrNothing(): Promise<((protocol: string) => Promise<string>) | undefined> {
  const run = promisify(execFile);
  const version = await run("curl", ["-V"]).catch(() => undefined);
  if (!version?.stdout.includes("HTTP2")) return undefined;
  writeFileSync(join(folder, "ca.pem"), trusted.join(""));
  const port = rig.ingress.tlsPort;
  return async (protocol) => {
    const { stdout } = await run("curl", [
      "-sS",
      protocol,
      "--cacert",
      join(folder, "ca.pem"),
      "--write-out",
      " %{http_version}",
      "--noproxy",
      "*",
      "--resolve",
      `app.localhost:${port}:127.0.0.1`,
      `https://app.localhost:${port}/`,
    ]);
    return stdout;
  };
}
