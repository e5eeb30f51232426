import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { bodyReader } from "#http/wire/body.ts";
import { parseRequestHead, parseResponseHead, WireError } from "#http/wire/head.ts";
import { createWireServer, type WireHandler, type WireServer } from "#http/wire/server.ts";

const parse = (...lines: string[]) => parseRequestHead(`${lines.join("\r\n")}\r\n\r\n`, 100);
const statusOf = (run: () => unknown) => {
  try {
    run();
    return 200;
  } catch (error) {
    return error instanceof WireError ? error.status : 500;
  }
};

describe("request heads", () => {
  test("what is well formed is read", () => {
    expect(
      parse("POST /a?b=c HTTP/1.1", "Host: x", "X-Y:  spaced out \t", "Content-Length: 12", "Connection: close"),
    ).toEqual({
      method: "POST",
      target: "/a?b=c",
      minor: 1,
      fields: ["host", "x", "x-y", "spaced out", "content-length", "12", "connection", "close"],
      framing: { kind: "length", length: 12 },
      keepAlive: false,
      upgrade: undefined,
      expectContinue: false,
    });
    expect(parse("GET / HTTP/1.1", "Upgrade: WebSocket", "Connection: keep-alive, Upgrade").upgrade).toBe("websocket");
    expect(parse("GET / HTTP/1.0").keepAlive).toBe(false);
  });

  test("a value may hold any byte that ends nothing", () => {
    expect(parse("GET / HTTP/1.1", "X: a\x7f\u00ff\tb").fields).toEqual(["x", "a\x7f\u00ff\tb"]);
  });

  // scale-reliability-security §3.3, 57–60 and RFC 9112 §6.3.
  test.each([
    [400, "both lengths", ["POST / HTTP/1.1", "Content-Length: 1", "Transfer-Encoding: chunked"]],
    [400, "two lengths", ["POST / HTTP/1.1", "Content-Length: 1", "Content-Length: 1"]],
    [400, "a list of lengths", ["POST / HTTP/1.1", "Content-Length: 1, 1"]],
    [400, "a signed length", ["POST / HTTP/1.1", "Content-Length: +1"]],
    [400, "a hexadecimal length", ["POST / HTTP/1.1", "Content-Length: 0x1"]],
    [400, "a length without digits", ["POST / HTTP/1.1", "Content-Length:"]],
    [501, "another coding", ["POST / HTTP/1.1", "Transfer-Encoding: gzip, chunked"]],
    [400, "two codings", ["POST / HTTP/1.1", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"]],
    [400, "chunked in 1.0", ["POST / HTTP/1.0", "Transfer-Encoding: chunked"]],
    [400, "a folded line", ["GET / HTTP/1.1", "A: b", " c"]],
    [400, "a blank before the colon", ["GET / HTTP/1.1", "A : b"]],
    [400, "NUL in a value", ["GET / HTTP/1.1", "A: b\0c"]],
    [400, "a bare LF", ["GET / HTTP/1.1", "A: b\nC: d"]],
    [400, "a bare CR", ["GET / HTTP/1.1", "A: b\rC: d"]],
    [400, "a line without a colon", ["GET / HTTP/1.1", "A"]],
    [400, "an empty name", ["GET / HTTP/1.1", ": b"]],
    [400, "a blank in the target", ["GET /a b HTTP/1.1"]],
    [400, "bytes above ASCII in the target", ["GET /\u00fc HTTP/1.1"]],
    [400, "no version", ["GET /"]],
    [505, "another version", ["GET / HTTP/2.0"]],
    [431, "too many fields", ["GET / HTTP/1.1", ...Array.from({ length: 101 }, (_, n) => `a${n}: b`)]],
  ])("%i for %s", (status, _what, lines) => {
    expect(statusOf(() => parse(...lines))).toBe(status);
  });
});

test("response heads tell where the body ends", () => {
  const framing = (status: string, ...fields: string[]) =>
    parseResponseHead(`HTTP/1.1 ${status}\r\n${fields.map((field) => `${field}\r\n`).join("")}\r\n`, {
      fieldsMax: 10,
      bodyless: false,
    }).framing;
  expect(framing("200 OK", "Content-Length: 3")).toEqual({ kind: "length", length: 3 });
  expect(framing("200 OK", "Transfer-Encoding: chunked")).toEqual({ kind: "chunked" });
  expect(framing("200 OK")).toEqual({ kind: "close" });
  expect(framing("204 No Content")).toEqual({ kind: "none" });
  expect(framing("304 Not Modified", "Content-Length: 3")).toEqual({ kind: "none" });
  expect(framing("101 Switching Protocols")).toEqual({ kind: "none" });
});

describe("chunked bodies", () => {
  const read = (wire: string, size = wire.length) => {
    const reader = bodyReader({ kind: "chunked" });
    let content = "";
    let used = 0;
    for (let at = 0; at < wire.length && !reader.done; at += size) {
      used += reader.read(
        Buffer.from(wire.slice(at, at + size), "latin1"),
        0,
        (piece) => (content += piece.toString("latin1")),
      );
    }
    return { content, done: reader.done, used };
  };

  test("are read whatever the pieces they come in", () => {
    const wire = "5\r\nhello\r\n1\r\n \r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n";
    for (let size = 1; size <= wire.length; size++) {
      expect(read(wire, size)).toEqual({
        content: "hello 0123456789",
        done: true,
        used: wire.length,
      });
    }
  });

  test("stop exactly at their end", () => {
    expect(read("1\r\nx\r\n0\r\n\r\nGET / HTTP/1.1")).toEqual({
      content: "x",
      done: true,
      used: 11,
    });
  });

  test.each([
    "\r\n",
    "x\r\n",
    "1 \r\nx\r\n",
    "000000001\r\nx\r\n",
    "1\nx\r\n",
    "1\r\nxy\r\n",
    "-1\r\n",
    "0x1\r\nx\r\n",
    "1;a=b\r\nx\r\n",
    "0\r\nA b\r\n\r\n",
    "0\r\n A: b\r\n\r\n",
    "0\r\nA: b\rC\r\n\r\n",
    "0\r\nGET / HTTP/1.1\r\n\r\n",
    "0\r\nA: \0\r\n\r\n",
    "0\r\nA: b\nC: d\r\n\r\n",
    "1;a\nb\r\nx\r\n",
  ])("%j is refused", (wire) => expect(() => read(wire)).toThrow(WireError));
});

describe("the server", () => {
  let folder: string;
  let server: WireServer;
  let path: string;
  const start = async (handler: WireHandler) => {
    server = createWireServer(handler);
    await server.listen(path);
  };
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "solum-wire-"));
    path = join(folder, "s");
  });
  afterEach(async () => {
    await server.close();
    rmSync(folder, { recursive: true });
  });

  const send = (options: {
    method?: string;
    target?: string;
    body?: Buffer | string;
    headers?: Record<string, string>;
  }) =>
    new Promise<{ status: number | undefined; body: string }>((resolve, reject) => {
      const outgoing = request(
        {
          socketPath: path,
          method: options.method ?? "GET",
          path: options.target ?? "/",
          headers: options.headers ?? {},
        },
        (response) => {
          text(response).then((body) => resolve({ status: response.statusCode, body }), reject);
        },
      );
      outgoing.on("error", reject);
      outgoing.end(options.body);
    });

  test("hands over bodies of every framing and size", async () => {
    await start(async (incoming) => ({
      status: 200,
      body: `${(await incoming.bytes(10_000_000)).length}`,
    }));
    for (const size of [0, 1, 65_536, 5_000_000]) {
      expect(await send({ method: "PUT", body: Buffer.alloc(size) })).toEqual({
        status: 200,
        body: String(size),
      });
      expect(
        await send({
          method: "PUT",
          body: Buffer.alloc(size),
          headers: { "transfer-encoding": "chunked" },
        }),
      ).toEqual({ status: 200, body: String(size) });
    }
  });

  test("streams answers, chunked or with their length", async () => {
    await start((incoming) => ({
      status: 200,
      body: (async function* () {
        for (let n = 0; n < 50; n++) yield Buffer.alloc(100_000, "x");
      })(),
      ...(incoming.target === "/known" ? { length: 5_000_000 } : {}),
    }));
    expect((await send({ target: "/known" })).body.length).toBe(5_000_000);
    expect((await send({ target: "/unknown" })).body.length).toBe(5_000_000);
  });

  test("a body past the handler's limit is 413", async () => {
    await start(async (incoming) => ({ status: 200, body: await incoming.bytes(10) }));
    expect((await send({ method: "PUT", body: "12345678901" })).status).toBe(413);
    expect((await send({ method: "PUT", body: "1234567890" })).status).toBe(200);
  });

  test("answers several requests on one connection, in order, with their bodies apart", async () => {
    await start(async (incoming) => ({
      status: 200,
      body: `${incoming.target}=${(await incoming.bytes(100)).toString()};`,
    }));
    const socket = connect(path);
    socket.write("PUT /a HTTP/1.1\r\ncontent-length: 3\r\n\r\none");
    socket.write(
      "PUT /b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\nGET /c HTTP/1.1\r\nconnection: close\r\n\r\n",
    );
    expect((await text(socket)).match(/\/[a-c]=[a-z]*;/g)).toEqual(["/a=one;", "/b=two;", "/c=;"]);
  });

  test("a large request that comes while the last answer is being finished waits for it", async () => {
    const finishing = Promise.withResolvers<void>();
    const finished = Promise.withResolvers<void>();
    await start(async (incoming) => {
      if (incoming.method === "PUT") return { status: 200, body: `${(await incoming.bytes(10_000_000)).length}` };
      const body = (async function* () {
        try {
          yield Buffer.from("answer");
        } finally {
          finishing.resolve();
          await finished.promise;
        }
      })();
      return { status: 200, body, length: 6 };
    });
    const socket = connect(path);
    socket.write("GET / HTTP/1.1\r\n\r\n");
    await finishing.promise;
    socket.write("PUT / HTTP/1.1\r\ncontent-length: 3000000\r\nconnection: close\r\n\r\n");
    socket.write(Buffer.alloc(3_000_000));
    await vi.waitFor(() => expect(socket.bytesWritten).toBeGreaterThan(200_000));
    finished.resolve();
    expect((await text(socket)).endsWith("3000000")).toBe(true);
  });

  test("a handler that throws is a 500 and the connection goes on", async () => {
    await start((incoming) => {
      if (incoming.target === "/bad") throw new Error("secret");
      return { status: 200, body: "ok" };
    });
    expect(await send({ target: "/bad" })).toEqual({ status: 500, body: "" });
    expect(await send({ target: "/" })).toEqual({ status: 200, body: "ok" });
  });

  test("values cannot forge headers", async () => {
    await start(() => ({
      status: 200,
      reason: "a\r\nx: y",
      headers: { "x-meta": "a\r\nset-cookie: b" },
    }));
    const socket = connect(path);
    socket.end("GET / HTTP/1.1\r\nconnection: close\r\n\r\n");
    expect(await text(socket)).not.toMatch(/^(x|set-cookie):/m);
  });

  test("a peer that leaves in the middle of a body is noticed", async () => {
    const failed = Promise.withResolvers<unknown>();
    await start(async (incoming) => {
      await incoming.bytes(1000).catch(failed.resolve);
      return { status: 200 };
    });
    const socket = connect(path);
    socket.write("PUT / HTTP/1.1\r\ncontent-length: 100\r\n\r\nhalf", () => socket.destroy());
    expect(await failed.promise).toBeInstanceOf(WireError);
  });
});
