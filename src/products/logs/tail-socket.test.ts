import { once } from "node:events";
import { createServer } from "node:http";
import { connect, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { logLimits, type LogEvent } from "#products/logs/schema.ts";
import { createLogStore, type LogStore } from "#products/logs/store.ts";
import { tailSocketPath, tailSocketUrl, tailUpgrades } from "#products/logs/tail-socket.ts";
import { createTails, type Tails } from "#products/logs/tails.ts";
import { sampleAccept } from "../../../test/support/websocket-frames.ts";

const worker = { id: "w", scriptName: "hello" };
const event = (more: Partial<LogEvent> = {}): LogEvent => ({
  id: "1",
  entrypoint: "default",
  outcome: "ok",
  eventTimestamp: 1,
  wallTime: 2,
  event: { request: { url: "http://x/", method: "GET" } },
  logs: [],
  exceptions: [],
  ...more,
});
const batch = (...events: LogEvent[]) => ({ events, unlisted: 0, dropped: 0 });

/** A frame as it is on the wire; `mask` is left out to send what a browser never would. */
function frame(payload: Buffer | string, { opcode = 1, final = true, mask = true, rsv = 0 } = {}): Buffer {
  const body = Buffer.from(payload);
  const length =
    body.length < 126 ? [body.length] : body.length < 65_536 ? [126, body.length >> 8, body.length & 0xff] : [];
  if (length.length === 0) {
    const big = Buffer.alloc(8);
    big.writeBigUInt64BE(BigInt(body.length));
    length.push(127, ...big);
  }
  length[0] = (length[0] ?? 0) | (mask ? 0x80 : 0);
  const key = Buffer.from([7, 1, 200, 3]);
  const masked = mask ? Buffer.concat([key, body.map((byte, at) => byte ^ (key[at & 3] ?? 0))]) : body;
  return Buffer.concat([Buffer.from([(final ? 0x80 : 0) | rsv | opcode, ...length]), masked]);
}

/** A client that reads frames and writes bytes. */
class Client {
  readonly socket: Socket;
  received = Buffer.alloc(0);
  closed = false;
  constructor(port: number, path: string, lines: readonly string[] = ["Sec-WebSocket-Protocol: trace-v1"]) {
    this.socket = connect(port, "127.0.0.1");
    this.socket.on("data", (bytes: Buffer) => (this.received = Buffer.concat([this.received, bytes])));
    this.socket.on("close", () => (this.closed = true));
    this.socket.on("error", () => {});
    const head = [`GET ${path} HTTP/1.1`, "Host: x", "Connection: Upgrade", "Upgrade: websocket"];
    const key = ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
    this.socket.write(`${[...head, ...key.filter((line) => !overridden(line, lines)), ...lines].join("\r\n")}\r\n\r\n`);
  }

  get head(): string {
    return this.received.toString("latin1").split("\r\n\r\n")[0] ?? "";
  }

  /** Frames of the server so far. */
  get frames(): { opcode: number; payload: Buffer }[] {
    const found: { opcode: number; payload: Buffer }[] = [];
    let at = this.received.indexOf("\r\n\r\n") + 4;
    if (at < 4) return found;
    while (at + 2 <= this.received.length) {
      let length = (this.received[at + 1] ?? 0) & 0x7f;
      let start = at + 2;
      if (length === 126) {
        length = this.received.readUInt16BE(start);
        start += 2;
      } else if (length === 127) {
        length = Number(this.received.readBigUInt64BE(start));
        start += 8;
      }
      if (start + length > this.received.length) break;
      found.push({ opcode: (this.received[at] ?? 0) & 0x0f, payload: this.received.subarray(start, start + length) });
      at = start + length;
    }
    return found;
  }

  messages(): Record<string, unknown>[] {
    return this.frames
      .filter(({ opcode }) => opcode === 1)
      .map(({ payload }) => JSON.parse(payload.toString()) as never);
  }

  /** The code that the server closed with. */
  async closeCode(): Promise<number> {
    return until(() => this.frames.find(({ opcode }) => opcode === 8)?.payload.readUInt16BE());
  }
}

function overridden(line: string, lines: readonly string[]): boolean {
  return lines.some((other) => other.split(":")[0] === line.split(":")[0]);
}

async function until<T>(ready: () => T | undefined): Promise<T> {
  return pollUntil({ ms: 10_000, everyMs: 5, what: "the WebSocket" }, ready);
}

let logs: LogStore;
let tails: Tails;
let port: number;
let stop: () => void;
const clients: Client[] = [];

async function serve(
  times: { aliveEveryMs?: number; aliveMs?: number } = {},
  tailTimes?: Parameters<typeof createTails>[1],
) {
  logs = createLogStore();
  tails = createTails(logs, tailTimes);
  const server = createServer();
  server.on("upgrade", tailUpgrades({ tails, logs, ...times }));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  port = typeof address === "object" && address ? address.port : 0;
  stop = () => {
    server.close();
    for (const { socket } of clients.splice(0)) socket.destroy();
  };
}

async function open(key = tails.create(worker, () => true).key): Promise<Client> {
  const client = join(`${tailSocketPath}${key}`);
  await until(() => (client.head.includes("101") ? true : undefined));
  return client;
}

function join(path: string, lines?: readonly string[]): Client {
  const client = new Client(port, path, lines);
  clients.push(client);
  return client;
}

const listeners = async (count: number) => until(() => (logs.listeners(worker.id) === count ? true : undefined));

beforeEach(() => serve());
afterEach(() => stop());

describe("a tail's WebSocket", () => {
  test("answers the opening, and takes wrangler's first message, which has no mask", async () => {
    const client = await open();
    expect(client.head).toContain(`Sec-WebSocket-Accept: ${sampleAccept}`);
    expect(client.head).toContain("Sec-WebSocket-Protocol: trace-v1");
    expect(client.head).not.toContain("Extensions");
    // `tail.send(JSON.stringify({ debug }), { mask: false })` of wrangler's `createTail`.
    client.socket.write(frame('{"debug":false}', { mask: false }));
    logs.accept("w", "v1", batch(event({ logs: [{ level: "log", message: ["a", { b: 1 }], timestamp: 5 }] })));
    expect((await until(() => client.messages()[0])) satisfies object).toEqual({
      wallTime: 2,
      cpuTime: 0,
      truncated: false,
      executionModel: "stateless",
      outcome: "ok",
      scriptVersion: { id: "v1" },
      scriptName: "hello",
      entrypoint: "default",
      diagnosticsChannelEvents: [],
      exceptions: [],
      logs: [{ level: "log", message: ["a", { b: 1 }], timestamp: 5 }],
      eventTimestamp: 1,
      event: { request: { url: "http://x/", method: "GET" } },
    });
  });

  test("begins with what happens after it was opened", async () => {
    logs.accept("w", "v1", batch(event({ outcome: "exception" })));
    const client = await open();
    logs.accept("w", "v1", batch(event()));
    expect(await until(() => client.messages()[0]?.["outcome"])).toBe("ok");
  });

  test("answers a ping with its own payload, within and between fragments, however the bytes are cut", async () => {
    const client = await open();
    client.socket.setNoDelay(true);
    const bytes = Buffer.concat([
      frame('{"debug":false}', { mask: false }),
      frame("wrangler tail ping", { opcode: 9 }),
      frame("frag", { final: false }),
      frame("between", { opcode: 9 }),
      frame("ments", { opcode: 0 }),
      frame("last", { opcode: 9 }),
    ]);
    for (const byte of bytes) client.socket.write(Buffer.from([byte]));
    await until(() => (client.frames.length === 3 ? true : undefined));
    expect(client.frames.map(({ opcode, payload }) => [opcode, payload.toString()])).toEqual([
      [10, "wrangler tail ping"],
      [10, "between"],
      [10, "last"],
    ]);
  });

  const first = frame("{}", { mask: false });
  const largest = logLimits.tailMessageBytes;
  test.each<[string, Buffer, number]>([
    ["a second frame without a mask", Buffer.concat([first, frame("{}", { mask: false })]), 1002],
    [
      "a ping without a mask after the first frame",
      Buffer.concat([first, frame("", { mask: false, opcode: 9 })]),
      1002,
    ],
    ["reserved bits", frame("x", { rsv: 0x40 }), 1002],
    ["an unknown opcode", frame("x", { opcode: 3 }), 1002],
    ["an unknown control opcode", frame("x", { opcode: 11 }), 1002],
    ["a fragmented ping", frame("x", { opcode: 9, final: false }), 1002],
    ["a ping that is too long", frame("x".repeat(126), { opcode: 9 }), 1002],
    ["a continuation of nothing", frame("x", { opcode: 0 }), 1002],
    ["a message within a message", Buffer.concat([frame("x", { final: false }), frame("y")]), 1002],
    ["a close frame of one byte", frame("x", { opcode: 8 }), 1002],
    ["a close code that may not be sent", frame(Buffer.from([3, 238]), { opcode: 8 }), 1002],
    ["a text that is not UTF-8", frame(Buffer.from([0xff])), 1007],
    ["a message that is too large", frame("x".repeat(largest + 1)), 1009],
    ["the head of a message of 2^63 bytes", Buffer.from([0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]), 1009],
    [
      "fragments that are too large together",
      Buffer.concat([frame("x".repeat(largest - 1), { final: false }), frame("yy", { opcode: 0 })]),
      1009,
    ],
    [
      "empty fragments without end",
      Buffer.concat([
        frame("", { final: false }),
        ...Array.from({ length: largest + 1 }, () => frame("", { opcode: 0, final: false })),
      ]),
      1009,
    ],
  ])("is closed for %s", async (_, bytes, code) => {
    const client = await open();
    client.socket.write(bytes);
    expect(await client.closeCode()).toBe(code);
    await until(() => (client.closed ? true : undefined));
    await listeners(0);
  });

  test.each([
    ["with a code", frame(Buffer.from([0x03, 0xe9]), { opcode: 8 }), 1001],
    ["without one", frame("", { opcode: 8 }), 1000],
  ])("answers a close %s and ends", async (_, bytes, code) => {
    const client = await open();
    client.socket.write(bytes);
    expect(await client.closeCode()).toBe(code);
    await until(() => (client.closed ? true : undefined));
    await listeners(0);
  });
});

test.each([
  ["http://localhost:8787", "ws://localhost:8787/client/v4/tails/key"],
  ["https://console.example", "wss://console.example/client/v4/tails/key"],
])("of a console at %s the address is %s", (consoleUrl, url) => {
  expect(tailSocketUrl(consoleUrl, "key")).toBe(url);
});

describe("the opening is refused", () => {
  test.each<[string, readonly string[], number]>([
    ["without the subprotocol", [], 400],
    ["with another subprotocol", ["Sec-WebSocket-Protocol: trace-v2"], 400],
    ["with another version", ["Sec-WebSocket-Protocol: trace-v1", "Sec-WebSocket-Version: 8"], 426],
    ["with a bad key", ["Sec-WebSocket-Protocol: trace-v1", "Sec-WebSocket-Key: short"], 400],
  ])("%s", async (_, lines, status) => {
    const client = join(`${tailSocketPath}${tails.create(worker, () => true).key}`, lines);
    await until(() => (client.closed ? true : undefined));
    expect(client.head).toContain(`HTTP/1.1 ${status}`);
    expect(logs.listeners(worker.id)).toBe(0);
  });

  test("at an address that nobody was given", async () => {
    const { key } = tails.create(worker, () => true);
    for (const wrong of ["", "x", key.slice(1), `${key}x`, key.toUpperCase()]) {
      const client = join(`${tailSocketPath}${wrong}`);
      await until(() => (client.closed ? true : undefined));
      expect(client.head, wrong).toContain("HTTP/1.1 404");
    }
  });
});

describe("nothing is left of", () => {
  test("a client that goes away without a word", async () => {
    const client = await open();
    await listeners(1);
    client.socket.destroy();
    await listeners(0);
    expect(logs.accept("w", "v", batch())).toBe("quiet");
  });

  test("one that is half open: it answers no ping", async () => {
    stop();
    await serve({ aliveEveryMs: 20, aliveMs: 100 });
    const client = await open();
    await until(() => (client.frames.some(({ opcode }) => opcode === 9) ? true : undefined));
    await listeners(0);
    await until(() => (client.closed ? true : undefined));
  });

  test("one that answers pings stays", async () => {
    stop();
    await serve({ aliveEveryMs: 20, aliveMs: 100 });
    const client = await open();
    let answered = 0;
    await until(() => {
      const pings = client.frames.filter(({ opcode }) => opcode === 9).length;
      for (; answered < pings; answered++) client.socket.write(frame("", { opcode: 10 }));
      return answered > 20 ? true : undefined;
    });
    expect(logs.listeners(worker.id)).toBe(1);
  });

  test("a tail that is deleted, and of a Worker that is", async () => {
    const tail = tails.create(worker, () => true);
    const client = await open(tail.key);
    expect(tails.remove("other", tail.id)).toBe(false);
    expect(tails.remove("w", tail.id)).toBe(true);
    expect(await client.closeCode()).toBe(1000);
    const other = await open();
    tails.removeAll("w");
    logs.forget("w");
    expect(await other.closeCode()).toBe(1000);
    await listeners(0);
    expect(tails.latest("w")).toBeUndefined();
  });

  test("a tail that expires, or that nobody came for", async () => {
    stop();
    await serve({}, { expireMs: 150, unusedMs: 50 });
    const unused = tails.create(worker, () => true);
    const client = await open();
    await until(() => (tails.find(unused.key) ? undefined : true));
    expect(await client.closeCode()).toBe(1000);
    await listeners(0);
  });

  test("all of them when the process stops: their clients come back", async () => {
    const client = await open();
    tails.close();
    expect(await client.closeCode()).toBe(1012);
  });
});

test("a second client at the same address takes the place of the first", async () => {
  const { key } = tails.create(worker, () => true);
  const first = await open(key);
  const second = await open(key);
  expect(await first.closeCode()).toBe(1000);
  logs.accept("w", "v", batch(event()));
  await until(() => second.messages()[0]);
  await listeners(1);
});

test("no more clients than may; one that leaves makes room", async () => {
  const all = await Promise.all(Array.from({ length: logLimits.listenersPerWorker }, () => open()));
  expect(() => tails.create(worker, () => true)).toThrow("no more may");
  all[0]?.socket.destroy();
  await listeners(logLimits.listenersPerWorker - 1);
  await open();
});

test("tails that nobody has come for yet count as well", () => {
  for (let count = 0; count < logLimits.listenersPerWorker; count++) tails.create(worker, () => true);
  expect(() => tails.create(worker, () => true)).toThrow("no more may");
  tails.create({ id: "other", scriptName: "other" }, () => true);
});

test("a client that does not read holds no more than its queue, and is told so when it reads again", async () => {
  const client = await open();
  client.socket.pause();
  const logsOf = (text: string) => [{ level: "log" as const, message: [text], timestamp: 1 }];
  const big = event({ logs: logsOf("x".repeat(64 * 1024)) });
  for (let count = 0; count < 400; count++) {
    logs.accept("w", "v", batch(big));
    await new Promise((resolve) => setImmediate(resolve));
  }
  client.socket.resume();
  await until(() => {
    logs.accept("w", "v", batch(event({ logs: logsOf("again") })));
    return (
      client.messages().some(({ event: about }) => (about as { type?: string }).type === "overload-stop") || undefined
    );
  });
  const kinds = client.messages().map(({ event: about }) => (about as { type?: string }).type ?? "event");
  expect(kinds.filter((kind) => kind === "overload")).toHaveLength(1);
  expect(kinds.filter((kind) => kind === "event").length).toBeLessThan(400);
});

test("a client that sends pings and reads no pongs is not read any further", async () => {
  const client = await open();
  client.socket.pause();
  const pings = Buffer.concat(Array.from({ length: 2000 }, () => frame("p".repeat(125), { opcode: 9 })));
  let taken = 0;
  while (taken < 200 && client.socket.write(pings)) taken++;
  await until(() => (client.socket.writableLength > 0 ? true : undefined));
  expect(taken).toBeLessThan(200);
});
