import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { answering, response, type FakeConnection, type FakeUpstream } from "../../test/support/fake-upstream.ts";
import { IngressRig } from "../../test/support/ingress-rig.ts";
import { readResponse, readResponses } from "../../test/support/raw-client.ts";

let rig: IngressRig;
beforeEach(async () => {
  rig = await IngressRig.start();
});
afterEach(async () => {
  await rig.quiet();
  await rig[Symbol.asyncDispose]();
});

const host = "Host: app.localhost";
const request = (line: string, ...fields: string[]) => [`${line} HTTP/1.1`, host, ...fields, "", ""].join("\r\n");
const until = (ready: () => boolean) =>
  pollUntil({ ms: 10_000, everyMs: 2, what: "the condition" }, () => ready() || undefined);

describe("requests", () => {
  test("a body with its length, and one in chunks, pass byte for byte", async () => {
    const app = await rig.fake((connection) => {
      void until(() => connection.body.endsWith("END\r\n0\r\n\r\n") || connection.body.endsWith("END")).then(() =>
        connection.send(response("ok", ["Connection: close"])),
      );
    });
    using a = await rig.client();
    a.write(request("POST /a", "Content-Length: 6")).write("abc").write("END");
    await a.until((text) => text.endsWith("ok"));
    using b = await rig.client();
    b.write(request("POST /b", "Transfer-Encoding: chunked")).write("3\r\nabc\r\n").write("03\r\nEND\r\n0\r\n\r\n");
    await b.until((text) => text.endsWith("ok"));
    expect(app.received).toContain("content-length: 6\r\n");
    expect(app.received).toContain("transfer-encoding: chunked\r\n");
    expect(app.received.endsWith("\r\n\r\n3\r\nabc\r\n03\r\nEND\r\n0\r\n\r\n")).toBe(true);
  });

  test("trailers pass", async () => {
    const app = await rig.fake((connection) => {
      void until(() => connection.body.length > 0 || connection.received.endsWith("X-Sum: 1\r\n\r\n")).then(() =>
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Back: 2\r\n\r\n"),
      );
    });
    using client = await rig.client();
    client.write(request("POST /", "Transfer-Encoding: chunked") + "1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n");
    expect(await client.until((text) => text.includes("X-Back: 2\r\n\r\n"))).toContain("0\r\nX-Back: 2\r\n\r\n");
    expect(app.received).toContain("0\r\nX-Sum: 1\r\n\r\n");
  });

  test("Expect: 100-continue is answered here, at once, and not passed on", async () => {
    const app = await rig.fake((connection) => {
      void until(() => connection.body === "abc").then(() => connection.send(response("done")));
    });
    using client = await rig.client();
    client.write(request("PUT /", "Expect: 100-continue", "Content-Length: 3"));
    await client.until((text) => text === "HTTP/1.1 100 Continue\r\n\r\n");
    client.write("abc");
    await client.until((text) => text.endsWith("done"));
    expect(app.received).not.toMatch(/expect/i);
    expect(await rig.raw(request("PUT /", "Expect: something", "Content-Length: 3"))).toMatch(/^HTTP\/1.1 417 /);
  });

  test("a declared body past the limit is 413 and reaches nobody; one in chunks is cut at the limit", async () => {
    const small = await IngressRig.start({ requestBodyBytes: 10 });
    try {
      const app = await small.fake(() => {});
      expect(await small.raw(request("POST /", "Content-Length: 11"))).toMatch(/^HTTP\/1.1 413 /);
      expect(app.connections).toEqual([]);
      using client = await small.client();
      client.write(request("POST /", "Transfer-Encoding: chunked") + "a\r\n0123456789\r\n");
      await until(() => app.heads.length === 1);
      client.write("1\r\nx\r\n");
      await client.until((text) => text.startsWith("HTTP/1.1 413 "));
      await until(() => app.open === 0);
      await small.quiet();
    } finally {
      await small[Symbol.asyncDispose]();
    }
  });

  test("chunks that break in the middle of a body end it for the process too", async () => {
    const app = await rig.fake(() => {});
    using client = await rig.client();
    client.write(request("POST /", "Transfer-Encoding: chunked") + "1\r\nx\r\n");
    await until(() => app.connections[0]?.body === "1\r\nx\r\n");
    client.write("zz\r\n");
    await client.until((text) => text.startsWith("HTTP/1.1 400 "));
    await until(() => app.open === 0);
    expect(app.received).not.toContain("zz");
  });

  test("a client that leaves ends the process's request at once", async () => {
    const app = await rig.fake(() => {});
    for (const leave of ["abort", "end"] as const) {
      const client = await rig.client();
      client.write(request("GET /"));
      await until(() => app.open === 1);
      expect(rig.ingress.open()).toMatchObject({ requests: 1 });
      if (leave === "abort") client.abort();
      else client.socket.end();
      await until(() => app.open === 0);
      await rig.quiet();
    }
  });
});

describe("answers", () => {
  test("keep their lines as they were spelled, but for the connection's own", async () => {
    await rig.fake((connection) =>
      connection.send(
        response("body", [
          "X-Odd_Name:  two  words ",
          "Set-Cookie: a=1",
          "set-cookie: b=2",
          "Connection: x-gone, keep-alive",
          "X-Gone: 1",
          "Keep-Alive: timeout=5",
        ]),
      ),
    );
    const { head, body } = await rig.get("/");
    expect(body).toBe("body");
    expect(head).toContain("\r\nX-Odd_Name:  two  words \r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n");
    expect(head).not.toMatch(/gone|keep-alive/i);
    expect(head).toMatch(
      /\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\nCF-Ray: [0-9a-f]{16}-SOL\r\nConnection: close$/,
    );
    expect(head).not.toMatch(/\r\nserver:/i);
  });

  test("a Date of the Worker's own stays, a CF-Ray does not", async () => {
    await rig.fake((connection) => connection.send(response("", ["Date: then", "CF-Ray: forged", "Server: mine"])));
    const { headers, head } = await rig.get("/");
    expect(headers.get("date")).toBe("then");
    expect(headers.get("server")).toBe("mine");
    expect(head.match(/cf-ray/gi)).toHaveLength(1);
    expect(headers.get("cf-ray")).toMatch(/^[0-9a-f]{16}-SOL$/);
  });

  test("HTTP/1.0 clients get the content of chunks, and the connection's end as the end", async () => {
    await rig.fake((connection) =>
      connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"),
    );
    const { head, body } = readResponse(await rig.raw(`GET / HTTP/1.0\r\n${host}\r\nConnection: keep-alive\r\n\r\n`));
    expect(body).toBe("abcdef");
    expect(head).not.toMatch(/transfer-encoding/i);
    expect(head).toContain("Connection: close");
  });

  test("HTTP/1.0 clients may keep a connection when the length is known", async () => {
    await rig.fake(answering("one"));
    using client = await rig.client();
    for (let n = 1; n <= 2; n++) {
      client.write(`GET / HTTP/1.0\r\n${host}\r\nConnection: keep-alive\r\n\r\n`);
      await client.until((text) => readResponses(text).length === n && text.endsWith("one"));
    }
    expect(client.received).toContain("Connection: keep-alive");
  });

  test("HEAD, 204 and 304 have no body, whatever their fields say", async () => {
    const app = await rig.fake((connection, head) => {
      if (head.startsWith("HEAD")) connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
      else if (head.includes("/204")) connection.send("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n");
      else connection.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: x\r\n\r\n");
    });
    using client = await rig.client();
    client.write(request("HEAD /")).write(request("GET /204")).write(request("GET /304")).write(request("HEAD /again"));
    await client.until((text) => text.split("HTTP/1.1 ").length === 5 && text.endsWith("\r\n\r\n"));
    const [first, second, third] = client.received.split("HTTP/1.1 ").slice(1);
    expect(first).toContain("Content-Length: 1000");
    expect(second).not.toMatch(/content-length/i);
    expect(third).toContain("Content-Length: 7");
    expect(app.connections).toHaveLength(1);
  });

  test("interim answers are dropped, alone or together with the final one", async () => {
    await rig.fake((connection) => {
      connection.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
      setTimeout(() => connection.send(`HTTP/1.1 102 Processing\r\n\r\n${response("final")}`), 5);
    });
    expect(await rig.raw(request("GET /", "Connection: close"))).toMatch(/^HTTP\/1.1 200 OK\r\n[^]*final$/);
  });

  test("an answer that ends with its connection does so for the client", async () => {
    await rig.fake((connection) => {
      connection.send("HTTP/1.1 200 OK\r\n\r\nfirst ");
      setTimeout(() => connection.socket.end("second"), 5);
    });
    expect(await rig.get("/")).toMatchObject({ status: 200, body: "first second" });
  });

  test("an answer that comes while the body is still sent is passed on, and both connections end", async () => {
    const app = await rig.fake((connection) => connection.send(response("enough")));
    using client = await rig.client();
    client.write(request("POST /", "Content-Length: 1000000") + "x".repeat(1000));
    await client.until((text) => text.endsWith("enough"));
    // The client goes on sending for a while, as clients do that do not read before they have written.
    for (let n = 0; n < 10; n++) client.write("x".repeat(1000));
    expect(await client.closed()).toBe("ended");
    expect(readResponse(client.received)).toMatchObject({ status: 200, body: "enough" });
    await until(() => app.open === 0);
  });

  test("an answer is not lost when the process closes before it took the whole body", async () => {
    await rig.fake((connection) => {
      connection.socket.end(response("early", ["Connection: close"]), "latin1");
      connection.socket.destroySoon();
    });
    for (let n = 0; n < 20; n++) {
      using client = await rig.client();
      client.write(request("POST /", "Content-Length: 10000000"));
      for (let piece = 0; piece < 20; piece++) client.write("x".repeat(60_000));
      await client.until((text) => text.endsWith("early"));
    }
  });

  test("both directions can flow at once", async () => {
    await rig.fake((connection) => {
      let at = connection.received.length;
      connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
      connection.socket.on("data", () => {
        connection.send(connection.received.slice(at));
        at = connection.received.length;
      });
    });
    using client = await rig.client();
    client.write(request("POST /", "Transfer-Encoding: chunked"));
    await client.until((text) => text.endsWith("\r\n\r\n"));
    for (const letter of "abc") {
      client.write(`1\r\n${letter}\r\n`);
      await client.until((text) => text.endsWith(`1\r\n${letter}\r\n`));
    }
    client.write("0\r\n\r\n");
    expect(readResponse(await client.until((text) => text.endsWith("0\r\n\r\n"))).body).toBe("abc");
  });
});

describe("broken answers", () => {
  const broken: [string, string][] = [
    ["no HTTP", "hello\r\n\r\n"],
    ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"],
    ["length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
    ["another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"],
    ["a control character", "HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n"],
    ["a bare LF", "HTTP/1.1 200 OK\nA: b\r\n\r\n"],
    ["a line feed in the status text", "HTTP/1.1 200 O\nK\r\n\r\n"],
    ["a switch that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"],
    ["a head without end", `HTTP/1.1 200 OK\r\nA: ${"x".repeat(140_000)}`],
    ["too many fields", `HTTP/1.1 200 OK\r\n${"A: b\r\n".repeat(201)}\r\n`],
  ];
  test.each(broken)("%s is 502", async (_what, answer) => {
    const app = await rig.fake((connection) => connection.send(answer));
    expect(await rig.get("/")).toMatchObject({ status: 502 });
    await until(() => app.open === 0);
  });

  test("a process that ends in the middle of an answer never looks like its end", async () => {
    const cases: [start: string, line: string, ending: string][] = [
      ["HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "GET / HTTP/1.1", "ended"],
      ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "GET / HTTP/1.1", "ended"],
      // Without chunks only a reset says that something is missing.
      ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "GET / HTTP/1.0", "reset"],
    ];
    for (const [start, line, ending] of cases) {
      const app = await rig.fake((connection) => connection.send(start));
      using client = await rig.client();
      client.write(`${line}\r\n${host}\r\n\r\n`);
      await client.until((text) => text.includes("half"));
      for (const { socket } of app.connections) socket.destroy();
      expect(await client.closed()).toBe(ending);
      expect(client.received).not.toContain("0\r\n\r\n");
      await rig.quiet();
    }
  });

  test("chunks that break in the middle of an answer cut it off", async () => {
    await rig.fake((connection) => {
      connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
      setTimeout(() => connection.send("nonsense\r\n0\r\n\r\n"), 5);
    });
    using client = await rig.client();
    client.write(request("GET /"));
    await client.closed();
    expect(client.received).toMatch(/4\r\nhalf\r\n$/);
  });

  test("bytes after an answer are not the next one's beginning", async () => {
    const app = await rig.fake((connection) =>
      connection.send(`${response("one")}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`),
    );
    using client = await rig.client();
    client.write(request("GET /1"));
    await client.until((text) => text.endsWith("one"));
    client.write(request("GET /2"));
    await client.until((text) => text.split("one").length === 3);
    expect(client.received).not.toContain("evil");
    expect(app.connections).toHaveLength(2);
  });

  test("bytes on a kept connection that nobody asked for close it", async () => {
    let first: FakeConnection | undefined;
    const app: FakeUpstream = await rig.fake((connection) => {
      first ??= connection;
      connection.send(response("one"));
    });
    using client = await rig.client();
    client.write(request("GET /1"));
    await client.until((text) => text.endsWith("one"));
    first?.send(response("evil"));
    await until(() => app.open === 0);
    client.write(request("GET /2"));
    await client.until((text) => text.split("one").length === 3);
    expect(client.received).not.toContain("evil");
  });
});
