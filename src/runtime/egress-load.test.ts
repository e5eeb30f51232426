import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { egressConfig } from "#runtime/egress-config.ts";
import { heapFlags } from "#runtime/worker-config.ts";
import { residentMegabytes } from "../../test/support/child-process.ts";
import { runVersion, testRouter, type RunningVersion } from "../../test/support/worker-version.ts";
import { startWorkerd, temporaryFolder, type TestWorkerd } from "../../test/support/workerd.ts";

/** Much at once through a Worker and the egress process. `bench/egress.ts` says what it costs. */
const source = `export default { async fetch(request) {
  const at = new URL(request.url).searchParams.get("at");
  if (request.url.includes("/many")) {
    const each = async () => { for (let n = 0; n < 100; n++) await (await fetch(at)).text() };
    await Promise.all(Array.from({ length: 16 }, each));
    return new Response("done");
  }
  return fetch(at, { method: request.method, body: request.body });
} }`;

let origin: Server;
let port: number;
beforeAll(async () => {
  origin = createServer((incoming, response) => {
    if (incoming.url !== "/events") return void incoming.pipe(response);
    eventStreams.add(response);
    response.on("close", () => eventStreams.delete(response));
    response.writeHead(200, { "content-type": "text/event-stream" }).write("data: first\n\n");
  }).listen(0, "127.0.0.1");
  await once(origin, "listening");
  port = (origin.address() as AddressInfo).port;
});
afterAll(() => {
  origin.closeAllConnections();
  origin.close();
});

test(
  "1,000 event streams flow side by side, and end in the server when the client leaves",
  { timeout: 60_000 },
  async () => {
    await using outside = await run();
    const at = `http://127.0.0.1:${port}/events`;
    const opened = await Promise.all(
      Array.from({ length: 1000 }, async () => {
        const stream = await openStream(outside.worker, at);
        await once(stream, "data");
        return stream;
      }),
    );
    expect(eventStreams.size).toBe(1000);
    const second = opened.map((stream) => once(stream, "data"));
    for (const response of eventStreams) response.write("data: second\n\n");
    expect(String((await Promise.all(second)).at(-1)?.[0])).toBe("data: second\n\n");
    for (const stream of opened) stream.destroy();
    await pollUntil({ ms: 10_000, everyMs: 10, what: "their end" }, () => (eventStreams.size === 0 ? true : undefined));
  },
);

test("100 MB go up and down in memory that does not grow with them", { timeout: 60_000 }, async () => {
  await using outside = await run();
  const pids = [outside.worker.workerd.pid, outside.egress.pid];
  const megabytes = 100;
  const echoed = await openStream(outside.worker, `http://127.0.0.1:${port}/echo`, megabytes * 1e6);
  let bytes = 0;
  const most = pids.map(() => 0);
  for await (const piece of echoed) {
    const before = bytes;
    bytes += (piece as Buffer).length;
    // Once each ten million bytes.
    if (Math.floor(before / 1e7) !== Math.floor(bytes / 1e7))
      pids.forEach((pid, index) => (most[index] = Math.max(most[index] ?? 0, residentMegabytes(pid))));
  }
  expect(bytes).toBe(megabytes * 1e6);
  // A workerd has 50 to 60 MB of pages resident, most of them its program's; both bodies would add 200.
  for (const resident of most) expect(resident).toBeLessThan(130);
});

test(
  "a Worker that makes 24,000 small calls stays below the memory that one may have",
  { timeout: 90_000 },
  async () => {
    await using outside = await run();
    const at = `http://127.0.0.1:${port}/hello`;
    for (let round = 0; round < 15; round++)
      expect((await outside.worker.get(`/many?at=${encodeURIComponent(at)}`)).body).toBe("done");
    expect(residentMegabytes(outside.worker.workerd.pid)).toBeLessThan(256);
  },
);

async function run(): Promise<{ worker: RunningVersion; egress: TestWorkerd } & AsyncDisposable> {
  const worker = await runVersion(
    { modules: [{ name: "index.js", source }] },
    { router: testRouter, v8Flags: heapFlags(256 * 1024 ** 2) },
  );
  const folder = temporaryFolder();
  const rules = { allow: ["public", "local"], deny: [], ownAddresses: [] };
  const text = egressConfig({ socket: worker.layout.egress, rules });
  const egress = await startWorkerd({ folder: folder.path, text });
  return {
    worker,
    egress,
    async [Symbol.asyncDispose]() {
      await egress.stop();
      await worker[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

const eventStreams = new Set<ServerResponse>();

/** The answer to a request that the Worker passes on, once its head is there; `bytes` of a body go up with it. */
async function openStream(worker: RunningVersion, at: string, bytes = 0): Promise<IncomingMessage> {
  const outgoing = request({
    socketPath: worker.sockets.http,
    path: `/?at=${encodeURIComponent(at)}`,
    method: bytes > 0 ? "POST" : "GET",
    headers: { host: "worker.localhost:8787", ...(bytes > 0 ? { "content-length": bytes } : {}) },
    agent: false,
  });
  Readable.from(pieces(bytes)).pipe(outgoing);
  const [response] = (await once(outgoing, "response")) as [IncomingMessage];
  response.on("error", () => {});
  return response;
}

function* pieces(bytes: number): Generator<Buffer> {
  const piece = Buffer.alloc(100_000, "x");
  for (let left = bytes; left > 0; left -= piece.length) yield piece.subarray(0, Math.min(piece.length, left));
}
