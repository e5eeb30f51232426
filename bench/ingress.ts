import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir, cpus, loadavg } from "node:os";
import { createServer } from "node:net";
import { once } from "node:events";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { ChildProcess } from "node:child_process";
import type { Route, RoutingTable } from "#runtime/routes.ts";
import { runLoad, type LoadOptions } from "./support/load.ts";
import { cpuMicroseconds, startScript, stopProcess } from "../test/support/child-process.ts";
import { selfSigned } from "../test/support/self-signed.ts";
import { startWorkerd } from "../test/support/workerd-process.ts";

/**
 * What the ingress costs: one workerd, asked directly over TCP and through the ingress, in turns; then the same with one
 * thing more switched on, each beside the ingress without it.
 * `node bench/ingress.ts [--rounds 5] [--seconds 3] [--connections 1,32] [--with patterns,split,key,two,tls,h2] [--profile]`
 */
const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "3" },
    connections: { type: "string", default: "1,32" },
    with: { type: "string", default: "patterns,split,key,two,tls,h2" },
    profile: { type: "boolean", default: false },
  },
});

/** What it may cost at most: of the direct rate and in CPU at many connections, added latency at one. */
const aims = { rateAtLeast: 0.85, cpuUsAtMost: 40, addedMsAtMost: 0.15 };

const worker = `export default { fetch() { return new Response("Hello, world! This is an answer of a usual small size.\\n"); } };`;

/** A browser's request, as far as what it costs goes. */
const requestFor = (host: string, ...more: string[]) =>
  [
    "GET /path/of/a/page?with=a&query=string HTTP/1.1",
    `Host: ${host}`,
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Cookie: session=5f2b7c1d9e8a4f60b3c2d1e0f9a8b7c6; theme=dark",
    "Connection: keep-alive",
    ...more,
    "",
    "",
  ].join("\r\n");

/** What can be switched on. */
const additions: Record<string, string> = {
  patterns: "200 routes on zones, one of them this Worker's",
  split: "two versions, 90 to 10",
  key: "the same, with a version key",
  two: "two processes that share the port",
  tls: "HTTPS with HTTP/1.1, connections kept",
  h2: "HTTPS with HTTP/2, 8 streams to a connection",
};

type Row = { rps: number; p50Ms: number; p99Ms: number; ingressUs: number; workerdUs: number };
type Way = { load: Pick<LoadOptions, "to" | "tls" | "request">; ingress: ChildProcess[] };

const folder = mkdtempSync(join(tmpdir(), "solum-bench-"));
const host = "hello.localhost";
const socket = join(folder, "hello.sock");
const directPort = await freePort();
writeFileSync(join(folder, "worker.js"), worker);
writeFileSync(
  join(folder, "config.capnp"),
  `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = (modules = [(name = "worker.js", esModule = embed "worker.js")], compatibilityDate = "2026-11-01"))],
  sockets = [
    (name = "unix", address = "unix:${socket}", http = (cfBlobHeader = "x-solum-cf", forwardedProtoHeader = "x-solum-proto"), service = "main"),
    (name = "tcp", address = "127.0.0.1:${directPort}", http = (), service = "main"),
  ],
);`,
);
const workerd = await startWorkerd(join(folder, "config.capnp"), 2);
const started: ChildProcess[] = [];

try {
  console.log(
    `${cpus().length} × ${cpus()[0]?.model ?? "unknown"}, load ${loadavg()[0]?.toFixed(1)}, ${values.rounds} rounds of ${values.seconds} s`,
  );
  const plain = await startIngress("plain", tableOf());
  await measure(plain, 8);
  const direct: Way = { load: { to: { port: directPort }, request: requestFor(host) }, ingress: [] };
  for (const connections of values.connections.split(",").map(Number)) {
    const rows = await inTurns({ direct, ingress: plain }, connections);
    judge(connections, rows);
  }
  const connections = Math.max(...values.connections.split(",").map(Number));
  console.log("\nWhat can be switched on, beside the ingress without it:");
  for (const name of values.with.split(",").filter(Boolean)) {
    const on = await startVariant(name);
    // A process that has just begun compiles as it goes; that is not what a request costs.
    await measure(on, connections);
    const rows = await inTurns({ without: plain, [name]: on }, connections);
    const added = lowest(rows[name], "ingressUs") - lowest(rows["without"], "ingressUs");
    console.log(`  ${name} adds ${added.toFixed(1)} µs of ingress CPU to each request (${additions[name]})`);
    for (const child of on.ingress) await stopProcess(child);
  }
} finally {
  for (const child of started) await stopProcess(child);
  await workerd.kill();
  rmSync(folder, { recursive: true });
}

/** The things that can be switched on. */
async function startVariant(name: string): Promise<Way> {
  switch (name) {
    case "patterns": {
      const patterns = Array.from({ length: 200 }, (_, n) => ({ host: `zone${n}.example`, path: "/*", route: null }));
      const own = { host: "*.localhost", path: "/path/*", route: workerRoute([{ target: "t", weight: 100 }]) };
      return await startIngress(name, { ...tableOf(), patterns: [...patterns, own] });
    }
    case "split":
      return await startIngress(name, splitTable());
    case "key":
      return await startIngress(name, splitTable(), {}, ["Cloudflare-Workers-Version-Key: user-1234567"]);
    case "two": {
      const port = await freePort();
      const first = await startIngress(name, tableOf(), { port, sharesPort: true });
      const second = await startIngress(`${name}-2`, tableOf(), { port, sharesPort: true });
      return { load: first.load, ingress: [...first.ingress, ...second.ingress] };
    }
    case "tls":
    case "h2": {
      const { cert, key } = selfSigned(host);
      const files = { cert: join(folder, "cert.pem"), key: join(folder, "cert.key") };
      writeFileSync(files.cert, cert);
      writeFileSync(files.key, key);
      const way = await startIngress(name, tableOf(), { tls: { port: 0, certificates: [files] } });
      return { ...way, load: { ...way.load, tls: { servername: host, h2: name === "h2" } } };
    }
    default:
      throw new Error(`there is nothing called ${name} to switch on`);
  }
}

async function startIngress(
  name: string,
  table: RoutingTable,
  options: object = {},
  fields: string[] = [],
): Promise<Way> {
  const script = join(import.meta.dirname, "..", "test", "support", "serve-ingress.ts");
  const profile = values.profile && name === "plain" ? ["--cpu-prof", "--cpu-prof-interval=200"] : [];
  const { child, line } = await startScript(script, { folder, name, table, ...options }, profile);
  started.push(child);
  const [port, tlsPort] = line.split(" ").map(Number);
  return { load: { to: { port: tlsPort || port || 0 }, request: requestFor(host, ...fields) }, ingress: [child] };
}

function workerRoute(versions: { target: string; weight: number }[]): Route {
  return { kind: "worker", script: "hello", versions };
}

function tableOf(): RoutingTable {
  return {
    generation: 1,
    hosts: { [host]: workerRoute([{ target: "t", weight: 100 }]) },
    patterns: [],
    services: {},
    targets: { t: { workerId: "w", script: "hello", versionId: "v", sockets: [socket] } },
  };
}

function splitTable(): RoutingTable {
  const { targets, ...table } = tableOf();
  const [of] = Object.values(targets);
  if (!of) throw new Error("there is no target");
  const versions = [
    { target: "t", weight: 90 },
    { target: "u", weight: 10 },
  ];
  return { ...table, hosts: { [host]: workerRoute(versions) }, targets: { ...targets, u: { ...of, versionId: "u" } } };
}

async function inTurns(ways: Record<string, Way>, connections: number): Promise<Record<string, Row[]>> {
  const rows: Record<string, Row[]> = {};
  for (let round = 0; round < Number(values.rounds); round++)
    for (const [name, way] of Object.entries(ways)) (rows[name] ??= []).push(await measure(way, connections));
  console.log(`\nc=${connections}     median (lowest–highest of the rounds)`);
  for (const [name, list] of Object.entries(rows)) {
    const column = (key: keyof Row, digits: number) => {
      const sorted = list.map((row) => row[key]).toSorted((a, b) => a - b);
      const at = (index: number) => (sorted[index] ?? 0).toFixed(digits);
      return `${at(sorted.length >> 1)} (${at(0)}–${at(sorted.length - 1)})`;
    };
    console.log(
      `  ${name.padEnd(8)} rps ${column("rps", 0)}  p50 ${column("p50Ms", 3)} ms  p99 ${column("p99Ms", 2)} ms` +
        `  CPU µs/request: ingress ${column("ingressUs", 1)}, workerd ${column("workerdUs", 1)}`,
    );
  }
  return rows;
}

async function measure({ load, ingress }: Way, connections: number): Promise<Row> {
  const ingressCpu = () => ingress.reduce((sum, { pid }) => sum + cpuMicroseconds(pid ?? 0), 0);
  const workerdCpu = () => cpuMicroseconds(workerd.child.pid ?? 0);
  const before = { ingress: ingressCpu(), workerd: workerdCpu() };
  // CPU time is taken over the whole run, and so over all its requests: the load has no warm-up of its own.
  const result = await runLoad({ ...load, connections, seconds: Number(values.seconds), warmupSeconds: 0 });
  if (result.failures > 0) throw new Error(`${result.failures} of ${result.requests} requests failed`);
  return {
    rps: result.requestsPerSecond,
    p50Ms: result.p50Ms,
    p99Ms: result.p99Ms,
    ingressUs: (ingressCpu() - before.ingress) / result.requests,
    workerdUs: (workerdCpu() - before.workerd) / result.requests,
  };
}

function judge(connections: number, { direct, ingress }: Record<string, Row[]>): void {
  const rate = median(ingress, "rps") / median(direct, "rps");
  const addedMs = median(ingress, "p50Ms") - median(direct, "p50Ms");
  const aim =
    connections === 1
      ? `aim: at most ${aims.addedMsAtMost} ms added`
      : `aim: at least ${aims.rateAtLeast} of the rate, at most ${aims.cpuUsAtMost} µs`;
  console.log(
    `  through the ingress: ${rate.toFixed(2)} of the direct rate, ${addedMs.toFixed(3)} ms added at p50,` +
      ` ${median(ingress, "ingressUs").toFixed(1)} µs of CPU (${aim})`,
  );
}

function median(rows: readonly Row[] | undefined, key: keyof Row): number {
  const sorted = (rows ?? []).map((row) => row[key]).toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? 0;
}

/** Whatever else runs on the machine only adds to CPU time, by cold caches: the lowest of several is nearest to the cost. */
function lowest(rows: readonly Row[] | undefined, key: keyof Row): number {
  return Math.min(...(rows ?? []).map((row) => row[key]));
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address ? address.port : 0;
}
