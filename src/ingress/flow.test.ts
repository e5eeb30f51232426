import type { ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { connect, type Socket } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil, sleep } from "#core/deadline.ts";
import { residentMegabytes, startScript, stopProcess } from "../../test/support/child-process.ts";
import { tableOf } from "../../test/support/ingress-rig.ts";
import { RawClient, readResponse } from "../../test/support/raw-client.ts";

/** Large bodies through an ingress in a process of its own, whose memory can be looked at. */
const megabyte = 1024 * 1024;
const bodyBytes = 100 * megabyte;
/**
 * How much more than before the ingress may take while bodies pass. V8 lets 64 MB of buffers that nobody needs any more pile up
 * before it collects them; the rest are those in use. 400 MB pass in the first test.
 */
const growthMegabytes = 96;

let folder: string;
let app: Server;
let child: ChildProcess;
let port: number;
/** Of the uploads that the app has taken. */
const taken = { bytes: 0, digest: "", aborted: 0 };
let pauseUploads = false;
let produced = 0;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "solum-flow-"));
  app = createServer((request, answer) => {
    if (request.url === "/up") {
      const hash = createHash("sha256");
      taken.bytes = 0;
      if (pauseUploads) return;
      request.on("data", (piece: Buffer) => {
        taken.bytes += piece.length;
        hash.update(piece);
      });
      request.on("close", () => (taken.aborted += request.complete ? 0 : 1));
      request.on("end", () => answer.end((taken.digest = hash.digest("hex"))));
      return;
    }
    if (request.url === "/events") {
      answer.writeHead(200, { "content-type": "text/event-stream" });
      answer.write("data: 1\n\n");
      request.on("close", () => (taken.aborted += 1));
      return;
    }
    if (request.url === "/down?length") answer.setHeader("content-length", bodyBytes);
    let sent = 0;
    const fill = () => {
      while (sent < bodyBytes) {
        sent += megabyte / 4;
        produced = sent;
        if (!answer.write(Buffer.alloc(megabyte / 4, 1))) return;
      }
      answer.end();
    };
    answer.on("drain", fill);
    fill();
  });
  app.listen(join(folder, "app.sock"));
  await once(app, "listening");
  const started = await startScript(join(import.meta.dirname, "..", "..", "test", "support", "serve-ingress.ts"), {
    folder,
    table: { generation: 1, ...tableOf({ app: [join(folder, "app.sock")] }) },
  });
  child = started.child;
  port = Number(started.line.split(" ")[0]);
}, 60_000);

afterAll(async () => {
  await stopProcess(child);
  app.closeAllConnections();
  app.close();
  rmSync(folder, { recursive: true });
});

const head = (line: string, ...fields: string[]) =>
  [`${line} HTTP/1.1`, "Host: app.localhost", ...fields, "", ""].join("\r\n");

/** Watches the ingress's memory while `work` goes on; megabytes that it grew by at most. */
async function growthDuring(work: () => Promise<unknown>): Promise<number> {
  const before = residentMegabytes(child.pid ?? 0);
  let most = before;
  const sampler = setInterval(() => (most = Math.max(most, residentMegabytes(child.pid ?? 0))), 10);
  try {
    await work();
  } finally {
    clearInterval(sampler);
  }
  return most - before;
}

async function writeAll(socket: Socket, bytes: Buffer): Promise<void> {
  if (!socket.write(bytes)) await once(socket, "drain");
}

async function upload(framing: "length" | "chunked"): Promise<string> {
  using client = await RawClient.to(port);
  const field = framing === "length" ? `Content-Length: ${bodyBytes}` : "Transfer-Encoding: chunked";
  client.write(head("POST /up", field, "Connection: close"));
  const hash = createHash("sha256");
  for (let at = 0; at < bodyBytes; at += megabyte) {
    const piece = Buffer.alloc(megabyte, at / megabyte);
    hash.update(piece);
    if (framing === "chunked") client.write("100000\r\n");
    await writeAll(client.socket, piece);
    if (framing === "chunked") client.write("\r\n");
  }
  if (framing === "chunked") client.write("0\r\n\r\n");
  await client.closed();
  expect(readResponse(client.received).body).toBe(hash.digest("hex"));
  return taken.digest;
}

async function download(target: string): Promise<number> {
  const socket = connect(port, "127.0.0.1");
  socket.write(head(`GET ${target}`, "Connection: close"));
  let bytes = 0;
  for await (const piece of socket as AsyncIterable<Buffer>) bytes += piece.length;
  return bytes;
}

test("100 MB go up and down without being collected", { timeout: 120_000 }, async () => {
  const growth = await growthDuring(async () => {
    await upload("length");
    await upload("chunked");
    const bytes = await Promise.all([download("/down"), download("/down?length")]);
    expect(Math.min(...bytes)).toBeGreaterThan(bodyBytes);
  });
  expect(growth).toBeLessThan(growthMegabytes);
});

test("a reader that stops holds the process back", async () => {
  const socket = connect(port, "127.0.0.1");
  socket.pause();
  const growth = await growthDuring(async () => {
    socket.write(head("GET /down"));
    produced = 0;
    let last = -1;
    // Until nothing more is taken from the process: then every buffer on the way is full.
    await pollUntil({ ms: 10_000, everyMs: 200, what: "the process to be held back" }, () => {
      const stands = produced > 0 && produced === last;
      last = produced;
      return stands || undefined;
    });
  });
  expect(produced).toBeLessThan(bodyBytes / 2);
  expect(growth).toBeLessThan(growthMegabytes);
  // It reads on, and gets everything.
  let bytes = 0;
  socket.on("data", (piece: Buffer) => (bytes += piece.length));
  socket.resume();
  await pollUntil({ ms: 15_000, everyMs: 20, what: "the rest" }, () => bytes > bodyBytes || undefined);
  socket.destroy();
});

test("a process that does not read holds the client back", async () => {
  pauseUploads = true;
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  let accepted = 0;
  const growth = await growthDuring(async () => {
    socket.write(head("POST /up", `Content-Length: ${bodyBytes}`));
    const pump = () => {
      while (accepted < bodyBytes) {
        accepted += megabyte / 4;
        if (!socket.write(Buffer.alloc(megabyte / 4))) return;
      }
    };
    socket.on("drain", pump);
    pump();
    let last = -1;
    await pollUntil({ ms: 10_000, everyMs: 200, what: "the client to be held back" }, () => {
      const stands = accepted === last;
      last = accepted;
      return stands || undefined;
    });
  });
  expect(accepted).toBeLessThan(bodyBytes / 2);
  expect(growth).toBeLessThan(growthMegabytes);
  socket.resetAndDestroy();
  pauseUploads = false;
});

test("an event is passed on at once, and the process is told when its reader leaves", async () => {
  taken.aborted = 0;
  using client = await RawClient.to(port);
  client.write(head("GET /events"));
  await client.until((text) => text.includes("data: 1\n\n"));
  await sleep(20);
  client.socket.end();
  await pollUntil({ ms: 5000, everyMs: 5, what: "the process to be told" }, () => taken.aborted === 1 || undefined);
});

test("a client that never reads its answers cannot make them pile up", async () => {
  const socket = connect(port, "127.0.0.1");
  socket.pause();
  socket.on("error", () => {});
  const growth = await growthDuring(async () => {
    // Each asks for an answer of its own; nobody takes them.
    for (let n = 0; n < 20_000 && socket.writableLength < megabyte; n++) {
      socket.write(head("GET /nothing-here", "Accept: text/html").replace("app.", "nobody."));
      if (n % 500 === 0) await sleep(1);
    }
    await sleep(300);
  });
  expect(growth).toBeLessThan(growthMegabytes);
  socket.resetAndDestroy();
});
