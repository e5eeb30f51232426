import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir, cpus, loadavg } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { runLoad, type LoadOptions } from "./support/load.ts";
import { cpuMicroseconds, startScript, stopProcess } from "../test/support/child-process.ts";
import { startWorkerd } from "../test/support/workerd-process.ts";

/**
 * What the ingress costs: one workerd, asked directly over TCP and through the ingress, in turns.
 * `node bench/ingress.ts [--rounds 5] [--seconds 3] [--profile]`
 */
const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "3" },
    connections: { type: "string", default: "1,32" },
    profile: { type: "boolean", default: false },
  },
});

const worker = `export default { fetch() { return new Response("Hello, world! This is an answer of a usual small size.\\n"); } };`;

/** A browser's request, as far as what it costs goes. */
const requestFor = (host: string) =>
  [
    "GET /path/of/a/page?with=a&query=string HTTP/1.1",
    `Host: ${host}`,
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Cookie: session=5f2b7c1d9e8a4f60b3c2d1e0f9a8b7c6; theme=dark",
    "Connection: keep-alive",
    "",
    "",
  ].join("\r\n");

type Row = { rps: number; p50Ms: number; p99Ms: number; ingressUs: number; workerdUs: number };

const folder = mkdtempSync(join(tmpdir(), "solum-bench-"));
const host = "hello.localhost";
const socket = join(folder, "hello.sock");
const directPort = 20_000 + Math.floor(Math.random() * 20_000);
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
const { child: ingress, line: port } = await startScript(
  join(import.meta.dirname, "..", "test", "support", "serve-ingress.ts"),
  {
    folder,
    table: {
      generation: 1,
      hosts: { [host]: { kind: "worker", script: "hello", versions: [{ target: "t", weight: 100 }] } },
      patterns: [],
      services: {},
      targets: { t: { workerId: "w", script: "hello", versionId: "v", sockets: [socket] } },
    },
  },
  values.profile ? ["--cpu-prof", "--cpu-prof-interval=200"] : [],
);

const ways: Record<string, LoadOptions["to"]> = { direct: { port: directPort }, ingress: { port: Number(port) } };
try {
  console.log(
    `${cpus().length} × ${cpus()[0]?.model ?? "unknown"}, load ${loadavg()[0]?.toFixed(1)}, ${values.rounds} rounds of ${values.seconds} s`,
  );
  for (const connections of values.connections.split(",").map(Number)) {
    const rows: Record<string, Row[]> = { direct: [], ingress: [] };
    for (let round = 0; round < Number(values.rounds); round++)
      for (const [name, to] of Object.entries(ways)) rows[name]?.push(await measure(to, connections));
    report(connections, rows);
  }
} finally {
  await stopProcess(ingress);
  await workerd.kill();
  rmSync(folder, { recursive: true });
}

async function measure(to: LoadOptions["to"], connections: number): Promise<Row> {
  const pids = { ingress: ingress.pid ?? 0, workerd: workerd.child.pid ?? 0 };
  const before = { ingress: cpuMicroseconds(pids.ingress), workerd: cpuMicroseconds(pids.workerd) };
  // CPU time is taken over the whole run, and so over all its requests: the load has no warm-up of its own.
  const result = await runLoad({
    to,
    connections,
    seconds: Number(values.seconds),
    warmupSeconds: 0,
    request: requestFor(host),
  });
  if (result.failures > 0) throw new Error(`${result.failures} of ${result.requests} requests failed`);
  return {
    rps: result.requestsPerSecond,
    p50Ms: result.p50Ms,
    p99Ms: result.p99Ms,
    ingressUs: (cpuMicroseconds(pids.ingress) - before.ingress) / result.requests,
    workerdUs: (cpuMicroseconds(pids.workerd) - before.workerd) / result.requests,
  };
}

function report(connections: number, rows: Record<string, Row[]>): void {
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
  const median = (name: string, key: keyof Row) =>
    (rows[name] ?? []).map((row) => row[key]).toSorted((a, b) => a - b)[(rows[name]?.length ?? 0) >> 1] ?? 0;
  console.log(
    `  through the ingress: ${(median("ingress", "rps") / median("direct", "rps")).toFixed(2)} of the direct rate,` +
      ` ${(median("ingress", "p50Ms") - median("direct", "p50Ms")).toFixed(3)} ms added at p50`,
  );
}
