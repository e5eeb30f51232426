import { createServer } from "node:http";
import { once } from "node:events";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bodyReader } from "#http/wire/body.ts";
import { FakeUpstream, type FakeConnection } from "../../test/support/fake-upstream.ts";
import { IngressRig } from "../../test/support/ingress-rig.ts";
import { RawClient, readResponses } from "../../test/support/raw-client.ts";

/** However the bytes of a connection are cut into pieces, what arrives at the other end is the same. */
let rig: IngressRig;
let echo: ReturnType<typeof createServer>;
let app: FakeUpstream;
/** The fake's answer, sent in the pieces that a test wants. */
let answerPieces: string[] = [];

beforeAll(async () => {
  rig = await IngressRig.start();
  echo = createServer((request, answer) => {
    const pieces: Buffer[] = [];
    request.on("data", (piece: Buffer) => pieces.push(piece));
    request.on("end", () => {
      const body = `${request.method} ${request.url} ${String(request.headers["x-n"])} ${Buffer.concat(pieces).toString("latin1")}`;
      answer.end(body);
    });
  });
  echo.listen(rig.socket("echo"));
  await once(echo, "listening");
  app = await FakeUpstream.listen(rig.socket("app"), (connection) => void sendPieces(connection));
  await rig.route({ app: [rig.socket("app")], echo: [rig.socket("echo")] });
});
afterAll(async () => {
  echo.closeAllConnections();
  echo.close();
  await app.kill();
  await rig[Symbol.asyncDispose]();
});

const settled = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

async function sendPieces(connection: FakeConnection): Promise<void> {
  const pieces = answerPieces;
  for (const piece of pieces) {
    connection.send(piece);
    await settled();
  }
}

const host = "Host: echo.localhost";
const conversation = [
  `GET /one?a=b HTTP/1.1\r\n${host}\r\nX-N: 1\r\n\r\n`,
  `POST /two HTTP/1.1\r\n${host}\r\nX-N: 2\r\nContent-Length: 5\r\n\r\nhello`,
  `POST /three HTTP/1.1\r\n${host}\r\nX-N: 3\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0A\r\n0123\r\n6789\r\n0\r\nX-T: 1\r\n\r\n`,
  `GET /four HTTP/1.1\r\n${host}\r\nX-N: 4\r\nConnection: close\r\n\r\n`,
].join("");
const expected = ["GET /one?a=b 1 ", "POST /two 2 hello", "POST /three 3 abcd0123\r\n6789", "GET /four 4 "];

test("requests cut in two at every byte", async () => {
  for (let at = 1; at < conversation.length; at++) {
    using client = await RawClient.to(rig.port);
    client.write(conversation.slice(0, at));
    await settled();
    client.write(conversation.slice(at));
    await client.closed().catch((cause: unknown) => {
      throw new Error(`cut at ${at}`, { cause });
    });
    expect(
      readResponses(client.received).map(({ body }) => body),
      `cut at ${at}`,
    ).toEqual(expected);
  }
});

test("requests a byte at a time, and in pieces of every small size", async () => {
  for (let size = 1; size <= 17; size++) {
    using client = await RawClient.to(rig.port);
    for (let at = 0; at < conversation.length; at += size) {
      client.write(conversation.slice(at, at + size));
      await settled();
    }
    await client.closed();
    expect(
      readResponses(client.received).map(({ body }) => body),
      `pieces of ${size}`,
    ).toEqual(expected);
  }
});

const answers: [what: string, wire: string, body: string][] = [
  ["with a length", "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 12\r\n\r\nhello\r\n\r\nabc", "hello\r\n\r\nabc"],
  [
    "in chunks",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nC\r\n\r\n0\r\n\r\n78901\r\n0\r\nX-T: 1\r\n\r\n",
    "hello\r\n0\r\n\r\n78901",
  ],
  [
    "after interim ones",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "ok",
  ],
  ["that is empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""],
  [
    "of an exception",
    "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 21\r\n\r\nInternal Server Error",
    "1101",
  ],
  [
    "almost of an exception",
    "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 21\r\n\r\nInternal Server Errox",
    "Internal Server Errox",
  ],
];

test.each(answers)("answers %s, cut in two at every byte and three ways", async (_what, wire, body) => {
  const cuts: string[][] = [wire.split("")];
  for (let at = 1; at < wire.length; at++) cuts.push([wire.slice(0, at), wire.slice(at)]);
  for (let at = 1; at + 1 < wire.length; at += 3)
    cuts.push([wire.slice(0, at), wire.slice(at, at + 1), wire.slice(at + 1)]);
  for (const pieces of cuts) {
    answerPieces = pieces;
    const answer = await rig.get("/");
    expect(answer.body, JSON.stringify(pieces)).toContain(body);
    if (body !== "1101") expect(answer.body).toBe(body);
    else expect(answer.body).not.toContain("Internal Server Error");
  }
});

test("chunked bodies of random content and random pieces come out whole", async () => {
  let seed = 12_345;
  // A fixed sequence, so that a failure can be had again.
  const random = (below: number) => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0) % below;
  for (let round = 0; round < 200; round++) {
    const content = Array.from({ length: random(400) }, () => "\r\n0123abc;: "[random(11)]).join("");
    let wire = "";
    for (let at = 0; at < content.length;) {
      const size = 1 + random(40);
      const chunk = content.slice(at, at + size);
      wire += `${"0".repeat(random(3))}${chunk.length.toString(16)}\r\n${chunk}\r\n`;
      at += size;
    }
    wire += "0\r\n\r\n";
    const reader = bodyReader({ kind: "chunked" });
    let read = "";
    for (let at = 0; at < wire.length;) {
      const size = 1 + random(20);
      reader.read(Buffer.from(wire.slice(at, at + size)), 0, (piece) => (read += piece.toString()));
      at += size;
    }
    expect({ read, done: reader.done, bytes: reader.contentBytes }).toEqual({
      read: content,
      done: true,
      bytes: content.length,
    });
  }
});

test("whatever damage a conversation takes, what a process gets is well formed", async () => {
  const complaints: string[] = [];
  // node:http is strict. It may see a body that was cut off, since we end those, and nothing else that is wrong.
  const complain = (error: NodeJS.ErrnoException) => complaints.push(error.code ?? error.message);
  echo.on("clientError", complain);
  let seed = 99;
  const random = (below: number) => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0) % below;
  const damage = [
    "\r",
    "\n",
    "\0",
    " ",
    ":",
    "0",
    "\t",
    "f",
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "\r\n\r\n",
  ];
  for (let round = 0; round < 400; round++) {
    const at = random(conversation.length);
    const broken = conversation.slice(0, at) + damage[random(damage.length)] + conversation.slice(at + random(3));
    using client = await RawClient.to(rig.port);
    client.write(broken);
    await settled();
    client.socket.end();
    await client.closed();
  }
  await rig.quiet();
  echo.off("clientError", complain);
  expect(complaints.filter((code) => code.startsWith("HPE_") && code !== "HPE_INVALID_EOF_STATE")).toEqual([]);
});
