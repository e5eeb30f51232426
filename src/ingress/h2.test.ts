import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import {
  connect,
  constants,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type OutgoingHttpHeaders,
} from "node:http2";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import type { IngressLimits } from "#ingress/limits.ts";
import { answering, response, type FakeHandler, type FakeUpstream } from "../../test/support/fake-upstream.ts";
import { frame, frameTypes, H2Raw, headersFrame, requestBlock } from "../../test/support/h2-frames.ts";
import { IngressRig } from "../../test/support/ingress-rig.ts";
import { selfSigned } from "../../test/support/self-signed.ts";

/** HTTP/2: each stream goes through the same admission as a request of HTTP/1.1; attacks on the connection end it. */

let folder: string;
let rig: IngressRig;
let authority: string;
let sessions: ClientHttp2Session[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "solum-h2-"));
  sessions = [];
});

afterEach(async () => {
  for (const session of sessions) session.destroy();
  await rig[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function start(onHead: FakeHandler, limits: Partial<IngressLimits> = {}): Promise<FakeUpstream> {
  const { cert, key } = selfSigned("app.localhost", "other.localhost");
  const files = { cert: join(folder, "cert.pem"), key: join(folder, "cert.key") };
  writeFileSync(files.cert, cert);
  writeFileSync(files.key, key);
  authority = cert;
  rig = await IngressRig.start({ tls: { port: 0, certificates: [files] } }, limits);
  return await rig.fake(onHead);
}

function openSession(): ClientHttp2Session {
  const opened = connect(`https://127.0.0.1:${rig.ingress.tlsPort}`, { ca: authority, servername: "app.localhost" });
  opened.on("error", () => {});
  sessions.push(opened);
  return opened;
}

type H2Answer = { status: number; headers: Record<string, unknown>; body: string };

async function finish(stream: ClientHttp2Stream): Promise<H2Answer> {
  const pieces: Buffer[] = [];
  stream.on("data", (piece: Buffer) => pieces.push(piece));
  const [headers] = (await once(stream, "response")) as [Record<string, unknown>];
  if (!stream.readableEnded) await once(stream, "end");
  return { status: Number(headers[":status"]), headers, body: Buffer.concat(pieces).toString("latin1") };
}

async function ask(headers: OutgoingHttpHeaders, body?: string, on = openSession()): Promise<H2Answer> {
  const stream = on.request({ ":authority": "app.localhost", ...headers }, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
  return await finish(stream);
}

async function until(ready: () => boolean, what: string): Promise<void> {
  await pollUntil({ ms: 10_000, everyMs: 2, what }, () => ready() || undefined);
}

describe("a request on a stream", () => {
  test("reaches the Worker as one of HTTP/1.1, described as what it was", async () => {
    const app = await start(answering("hello"));
    const answer = await ask({
      ":path": "/x?y=1",
      "x-own": "ümlaut",
      cookie: ["a=1", "b=2"],
      "cf-connecting-ip": "6.6.6.6",
      "x-solum-cf": "{}",
      "x-bind": "z",
      forwarded: "for=6.6.6.6",
    });
    expect(answer).toMatchObject({ status: 200, body: "hello" });
    expect(answer.headers["cf-ray"]).toMatch(/^[0-9a-f]{16}-SOL$/);
    expect(answer.headers["date"]).toBeDefined();
    expect(Object.keys(answer.headers).filter((name) => /^(connection|transfer-encoding|x-solum)/.test(name))).toEqual(
      [],
    );
    const [head = ""] = app.heads;
    expect(head).toMatch(/^GET \/x\?y=1 HTTP\/1\.1\r\nhost: app\.localhost\r\n/);
    expect(head).toContain("cookie: a=1; b=2\r\n");
    expect(head).toContain("cf-connecting-ip: 127.0.0.1\r\n");
    expect(head).toContain("x-solum-proto: https\r\n");
    expect(head).toContain("x-own: \xfcmlaut\r\n");
    expect(head).not.toMatch(/6\.6\.6\.6|x-bind/);
    const cf = JSON.parse(/x-solum-cf: (.*)\r\n/.exec(head)?.[1] ?? "{}") as Record<string, unknown>;
    expect(cf).toMatchObject({
      httpProtocol: "HTTP/2",
      tlsVersion: "TLSv1.3",
      tlsCipher: expect.stringMatching(/^AEAD-/),
    });
  });

  test("carries a body with its length, and one without", async () => {
    const app = await start((connection, head) => {
      if (head.includes("content-length")) connection.send(response("known"));
    });
    expect(await ask({ ":method": "POST", "content-length": "4" }, "body")).toMatchObject({ body: "known" });
    const stream = openSession().request({ ":authority": "app.localhost", ":method": "POST" });
    stream.write("sun");
    stream.end("moon");
    await until(() => app.received.endsWith("0\r\n\r\n"), "the last chunk");
    app.connections.find(({ received }) => received.includes("transfer-encoding"))?.send(response("unknown"));
    expect(await finish(stream)).toMatchObject({ body: "unknown" });
    expect(app.heads[1]).toContain("transfer-encoding: chunked\r\n");
    const chunks = app.connections.find(({ received }) => received.includes("transfer-encoding"))?.body ?? "";
    expect(chunks.replaceAll(/[0-9a-f]+\r\n|\r\n/g, "")).toBe("sunmoon");
  });

  test.each([
    ["chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"],
    ["an end of the connection", "HTTP/1.1 200 OK\r\n\r\nabcdef"],
    ["a length", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nabcdef"],
  ])("gets an answer that ends with %s", async (what, answer) => {
    await start((connection) => {
      connection.send(answer);
      if (what.startsWith("an end")) connection.socket.end();
    });
    const got = await ask({});
    expect(got).toMatchObject({ status: 200, body: "abcdef" });
    if (what === "a length") expect(got.headers["set-cookie"]).toEqual(["a=1", "b=2"]);
  });

  test("many at once share a connection, and each gets its own answer", async () => {
    await start((connection, head) => connection.send(response(head.split(" ")[1] ?? "")));
    const shared = openSession();
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, n) => ask({ ":path": `/${n}` }, undefined, shared)),
    );
    expect(answers.map(({ body }) => body)).toEqual(Array.from({ length: 100 }, (_, n) => `/${n}`));
    expect(rig.ingress.open()).toMatchObject({ requests: 0, connections: 1 });
  });

  test("HEAD, 204 and 304 have no body", async () => {
    await start((connection, head) => {
      if (head.startsWith("HEAD")) connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
      else if (head.includes("/204")) connection.send("HTTP/1.1 204 No Content\r\n\r\n");
      else connection.send("HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n");
    });
    expect(await ask({ ":method": "HEAD" })).toMatchObject({
      status: 200,
      body: "",
      headers: { "content-length": "5" },
    });
    expect(await ask({ ":path": "/204" })).toMatchObject({ status: 204, body: "" });
    expect(await ask({ ":path": "/304" })).toMatchObject({ status: 304, body: "", headers: { etag: "x" } });
  });

  test("the Worker's exception, an unknown host and a wrong host are pages", async () => {
    await start((connection) =>
      connection.send(
        "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 21\r\n\r\nInternal Server Error",
      ),
    );
    expect(await ask({})).toMatchObject({ status: 500, body: expect.stringContaining("error code: 1101") });
    expect(await ask({ ":authority": "other.localhost" })).toMatchObject({ status: 404 });
    expect(await ask({ ":authority": "third.localhost" })).toMatchObject({ status: 421 });
    expect(await ask({ ":authority": "app.localhost", host: "evil.localhost" })).toMatchObject({ status: 400 });
    expect(await ask({ ":path": "/cdn-cgi/x" })).toMatchObject({ status: 404 });
    expect(await ask({ ":method": "TRACE" })).toMatchObject({ status: 405 });
    const html = await ask({ accept: "text/html" });
    expect(html.headers["content-type"]).toMatch(/^text\/html/);
  });

  test("one that is asked to go on is told so", async () => {
    await start((connection) => connection.send(response("ok")));
    const stream = openSession().request({
      ":authority": "app.localhost",
      ":method": "POST",
      expect: "100-continue",
      "content-length": "2",
    });
    await once(stream, "continue");
    stream.end("hi");
    expect(await finish(stream)).toMatchObject({ status: 200, body: "ok" });
  });

  test("a body that is too large is 413 and the stream is called off", async () => {
    await start(() => {});
    await rig[Symbol.asyncDispose]();
    const { cert, key } = selfSigned("app.localhost");
    writeFileSync(join(folder, "cert.pem"), cert);
    writeFileSync(join(folder, "cert.key"), key);
    authority = cert;
    const certificates = [{ cert: join(folder, "cert.pem"), key: join(folder, "cert.key") }];
    rig = await IngressRig.start({ requestBodyBytes: 1000, tls: { port: 0, certificates } });
    await rig.fake(() => {});
    const stream = openSession().request({ ":authority": "app.localhost", ":method": "POST" });
    stream.on("error", () => {});
    stream.write(Buffer.alloc(5000));
    expect(await finish(stream)).toMatchObject({ status: 413 });
    await until(() => stream.destroyed, "the stream to close");
    await rig.quiet();
  });
});

describe("a stream", () => {
  test("that breaks off at the Worker is reset, not ended", async () => {
    const app = await start((connection) => connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"));
    const stream = openSession().request({ ":authority": "app.localhost" });
    let failed: Error | undefined;
    stream.on("error", (error: Error) => (failed = error));
    let got = "";
    stream.on("data", (piece: Buffer) => (got += piece.toString("latin1")));
    await until(() => got === "part", "the beginning");
    await app.kill();
    await until(() => stream.destroyed, "the stream to end");
    expect(stream.rstCode).toBe(constants.NGHTTP2_INTERNAL_ERROR);
    expect(failed).toBeDefined();
  });

  test("that breaks off without a length is not ended before it is reset", async () => {
    const app = await start((connection) =>
      connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"),
    );
    using raw = await H2Raw.to(rig.ingress.tlsPort, "app.localhost");
    raw.send(headersFrame(1, requestBlock("app.localhost")));
    const ofStream = () => raw.frames().filter(({ stream }) => stream === 1);
    await until(() => ofStream().some(({ payload }) => payload.includes("part")), "the beginning");
    await app.kill();
    await until(() => ofStream().some(({ type }) => type === frameTypes.reset), "the reset");
    const endStream = 1;
    const ends = ofStream().filter(({ type, flags }) => type === frameTypes.data && (flags & endStream) !== 0);
    expect(ends).toEqual([]);
  });

  test("that its client takes back is taken back from the Worker", async () => {
    const app = await start(() => {});
    const shared = openSession();
    const stream = shared.request({ ":authority": "app.localhost" });
    stream.on("error", () => {});
    await until(() => app.heads.length === 1, "the request");
    stream.close(constants.NGHTTP2_CANCEL);
    await until(() => app.open === 0, "the Worker to see it go");
    await rig.quiet();
    expect(shared.destroyed).toBe(false);
  });

  test("that is not read holds back its Worker, and others go on", async () => {
    let sent = 0;
    const size = 32 * 1024 * 1024;
    await start(answering("small"));
    const server = createServer((socket) => {
      socket.on("error", () => {});
      const piece = Buffer.alloc(64 * 1024, "x");
      const more = () => {
        while (sent < size) {
          sent += piece.length;
          if (!socket.write(piece)) return;
        }
      };
      socket.once("data", () => {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`);
        more();
      });
      socket.on("drain", more);
    }).listen(rig.socket("big"));
    await once(server, "listening");
    await rig.route({ app: [rig.socket("app")], other: [rig.socket("big")] });
    const shared = openSession();
    const unread = shared.request({ ":authority": "other.localhost" });
    await once(unread, "response");
    unread.pause();
    let before = -1;
    await pollUntil({ ms: 10_000, everyMs: 100, what: "the Worker to be held back" }, () => {
      const stopped = sent === before;
      before = sent;
      return stopped || undefined;
    });
    expect(sent).toBeLessThan(size / 2);
    expect(await ask({}, undefined, shared)).toMatchObject({ body: "small" });
    let got = 0;
    unread.on("data", (piece: Buffer) => (got += piece.length));
    unread.resume();
    await once(unread, "end");
    expect(got).toBe(size);
    server.close();
  });

  test("whose Worker does not read holds back its client", async () => {
    const app = await start((connection) => connection.socket.pause());
    const stream = openSession().request({ ":authority": "app.localhost", ":method": "POST" });
    stream.on("error", () => {});
    const size = 32 * 1024 * 1024;
    const piece = Buffer.alloc(64 * 1024);
    for (let sent = 0; sent < size; sent += piece.length) stream.write(piece);
    await until(() => app.heads.length === 1, "the request");
    await until(() => stream.writableLength > size / 2, "the client to be held back");
    stream.close(constants.NGHTTP2_CANCEL);
    await rig.quiet();
  });

  test("whose client takes nothing of its answer is called off in time", async () => {
    await start((connection) => connection.send(response("x".repeat(500_000))), { stalledReaderMs: 100 });
    using raw = await H2Raw.to(rig.ingress.tlsPort, "app.localhost");
    // A window of 0 for every stream (RFC 9113 §6.9.2).
    raw.send(frame(frameTypes.settings, 0, 0, Buffer.from([0, 4, 0, 0, 0, 0])));
    raw.send(headersFrame(1, requestBlock("app.localhost")));
    await until(() => raw.frames().some(({ type, stream }) => type === frameTypes.reset && stream === 1), "the reset");
    await rig.quiet();
  });
});

describe("a drain", () => {
  test("says GOAWAY, lets streams end and closes", async () => {
    const app = await start(() => {});
    const shared = openSession();
    const stream = shared.request({ ":authority": "app.localhost" });
    await until(() => app.heads.length === 1, "the request");
    let told = false;
    shared.on("goaway", () => (told = true));
    const drained = rig.ingress.drain();
    await until(() => told, "GOAWAY");
    const late = finish(stream);
    app.connections[0]?.send(response("late"));
    expect(await late).toMatchObject({ body: "late" });
    expect(await drained).toEqual({ cutRequests: 0, cutWebSockets: 0 });
    await until(() => shared.destroyed, "the connection to close");
  });

  test("closes a connection without streams at once", async () => {
    await start(answering("ok"));
    const shared = openSession();
    expect(await ask({}, undefined, shared)).toMatchObject({ body: "ok" });
    expect(await rig.ingress.drain()).toEqual({ cutRequests: 0, cutWebSockets: 0 });
  });
});
