import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { capabilityReader } from "#core/capability.ts";
import { configText, embed } from "#core/capnp-text.ts";
import { pollUntil } from "#core/deadline.ts";
import { createWireServer } from "#http/wire/server.ts";
import { r2BindingHandler, r2Piece } from "#products/r2/binding.ts";
import { openR2Store } from "#products/r2/sqlite-store.ts";

/**
 * R2 through a Worker's binding, beside miniflare in the same run, rounds interleaved: `node bench/r2.ts [rounds] [seconds]`.
 * Both answer on TCP and make one fsync or more for each put. CPU is that of the process that holds the store.
 */
const [rounds = 3, seconds = 2] = process.argv.slice(2).map(Number);
const connections = 16;
const capabilityKey = Buffer.alloc(32, 1);
const workerId = "bench";

const script = `
const body = new Uint8Array(10240).map((_, at) => (at * 7) & 255);
const large = new Uint8Array(1024 * 1024).map((_, at) => (at * 7) & 255);
let n = 0;
export default {
  async fetch(request, env) {
    const key = "key-" + (n++ % 500);
    switch (new URL(request.url).pathname) {
      case "/put": await env.R2.put(key, body, { httpMetadata: { contentType: "image/png" } }); return new Response("ok");
      case "/get": return new Response((await env.R2.get(key)).body);
      case "/head": return new Response(String((await env.R2.head(key)).size));
      case "/list": return new Response(String((await env.R2.list({ limit: 100 })).objects.length));
      case "/put1m": await env.R2.put("large-" + (n % 20), large); return new Response("ok");
      case "/get1m": return new Response((await env.R2.get("large-" + (n % 20))).body);
      case "/fill":
        for (let at = 0; at < 500; at++) await env.R2.put("key-" + at, body);
        for (let at = 0; at < 20; at++) await env.R2.put("large-" + at, large);
        return new Response("ok");
    }
    return new Response("hello");
  },
};`;

/** The store's process: this file again. */
async function serveStore(folder: string): Promise<void> {
  const store = await openR2Store({
    db: join(folder, "r2.db"),
    blobs: join(folder, "r2"),
    sealKey: Buffer.alloc(32, 1),
  });
  const server = createWireServer(r2BindingHandler({ store, reader: capabilityReader(capabilityKey, workerId) }));
  await server.listen(join(folder, "s"));
  const { id } = await store.createBucket({ accountId: "a", name: "bench", jurisdiction: "default" });
  process.send?.(id);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

async function startSolum(folder: string): Promise<{ port: number; pid: number; stop: () => void }> {
  const store = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", import.meta.filename, "serve", folder],
    {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    },
  );
  const [bucketId] = (await once(store, "message")) as [string];
  const port = await freePort();
  const piece = r2Piece({ name: "R2", bucketId, workerId, socket: join(folder, "s"), capabilityKey });
  writeFileSync(
    join(folder, "config.capnp"),
    configText({
      services: [
        {
          name: "main",
          worker: {
            modules: [{ name: "worker.js", esModule: embed("worker.js") }],
            compatibilityDate: "2026-08-01",
            bindings: piece.bindings,
          },
        },
        ...piece.services,
      ],
      sockets: [{ name: "http", address: `127.0.0.1:${port}`, http: {}, service: "main" }],
    }),
  );
  const binary = `../node_modules/@cloudflare/workerd-linux-${process.arch === "x64" ? "64" : "arm64"}/bin/workerd`;
  const workerd: ChildProcess = spawn(
    join(import.meta.dirname, binary),
    ["serve", "--experimental", join(folder, "config.capnp")],
    { stdio: "inherit" },
  );
  await pollUntil({ ms: 10_000, everyMs: 20, what: "workerd" }, async () => {
    const socket = connect(port, "127.0.0.1");
    const up = await Promise.race([
      once(socket, "connect").then(() => true),
      once(socket, "close").then(() => undefined),
    ]).catch(() => undefined);
    socket.destroy();
    return up;
  });
  return { port, pid: store.pid ?? 0, stop: () => [store, workerd].forEach((child) => child.kill()) };
}

/** One connection: the next request goes when the answer to the last one is here. */
async function drive(port: number, path: string, until: number, times: number[]): Promise<void> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  const request = `GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`;
  let started = 0;
  let left = -1;
  let head: Buffer = Buffer.alloc(0);
  let tail = "";
  const next = () => {
    started = performance.now();
    left = -1;
    tail = "";
    head = Buffer.alloc(0);
    socket.write(request);
  };
  await new Promise<void>((resolve, reject) => {
    socket.on("error", reject);
    socket.on("data", (bytes: Buffer) => {
      let rest = bytes;
      if (left < 0) {
        head = head.length === 0 ? bytes : Buffer.concat([head, bytes]);
        const end = head.indexOf("\r\n\r\n");
        if (end < 0) return;
        const text = head.toString("latin1", 0, end);
        if (!text.startsWith("HTTP/1.1 200")) {
          reject(new Error(text));
          return;
        }
        const length = /content-length: (\d+)/i.exec(text)?.[1];
        left = length === undefined ? Number.POSITIVE_INFINITY : Number(length);
        rest = head.subarray(end + 4);
      }
      left -= rest.length;
      tail = (tail + rest.toString("latin1", Math.max(0, rest.length - 5))).slice(-5);
      if (left === Number.POSITIVE_INFINITY && tail === "0\r\n\r\n") left = 0;
      if (left !== 0) return;
      times.push(performance.now() - started);
      if (performance.now() < until) next();
      else resolve();
    });
    next();
  });
  socket.destroy();
}

function cpuMilliseconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10; // Clock ticks of 10 ms.
}

async function measure(target: { port: number; pid?: number }, path: string, count: number) {
  const times: number[] = [];
  const cpu = target.pid ? cpuMilliseconds(target.pid) : 0;
  const until = performance.now() + seconds * 1000;
  const began = performance.now();
  await Promise.all(Array.from({ length: count }, () => drive(target.port, path, until, times)));
  const elapsed = (performance.now() - began) / 1000;
  const sorted = times.toSorted((a, b) => a - b);
  const used = target.pid ? (cpuMilliseconds(target.pid) - cpu) * 1000 : 0;
  return {
    rps: times.length / elapsed,
    p50: sorted[Math.floor(sorted.length / 2)] ?? 0,
    p99: sorted[Math.floor(sorted.length * 0.99)] ?? 0,
    cpu: used / times.length,
  };
}

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "solum-r2-bench-"));
  writeFileSync(join(folder, "worker.js"), script);
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      modules: true,
      script,
      compatibilityDate: "2026-08-01",
      r2Buckets: ["R2"],
      resourcePersistencePath: join(folder, "mf"),
    }),
  );
  const url = await miniflare.ready;
  const solum = await startSolum(folder);
  const targets = { miniflare: { port: Number(url.port) }, solum };
  for (const { port } of Object.values(targets)) await drive(port, "/fill", 0, []);
  const best = (values: number[]) => Math.max(...values);
  for (const [path, count] of [
    ["/hello", connections],
    ["/get", connections],
    ["/get", 1],
    ["/put", connections],
    ["/put", 1],
    ["/head", connections],
    ["/list", connections],
    ["/get1m", 4],
    ["/put1m", 4],
  ] as const) {
    const results: Record<string, Awaited<ReturnType<typeof measure>>[]> = { miniflare: [], solum: [] };
    for (let round = 0; round < rounds; round++) {
      for (const [name, target] of Object.entries(targets)) results[name]?.push(await measure(target, path, count));
    }
    const [theirs = [], ours = []] = [results["miniflare"], results["solum"]];
    const show = (all: typeof ours, member: "rps" | "p50" | "p99" | "cpu", digits: number) =>
      all.map((result) => result[member].toFixed(digits)).join("/");
    console.log(
      `${path} c=${count}: miniflare ${show(theirs, "rps", 0)} rps, p50 ${show(theirs, "p50", 2)} ms | solum ${show(ours, "rps", 0)} rps, p50 ${show(ours, "p50", 2)} p99 ${show(ours, "p99", 1)} ms, ${show(ours, "cpu", 0)} µs CPU | ratio ${(best(ours.map(({ rps }) => rps)) / best(theirs.map(({ rps }) => rps))).toFixed(2)}`,
    );
  }
  solum.stop();
  await miniflare.dispose();
  rmSync(folder, { recursive: true, force: true });
}

if (process.argv[2] === "serve") await serveStore(process.argv[3] ?? "");
else await main();
