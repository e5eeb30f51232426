import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { cpus, loadavg } from "node:os";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { newUuid } from "#core/ids.ts";
import { d1Hosts } from "#products/d1/host-client.ts";
import { startD1Host, startD1Worker, testFolders, testKey } from "../test/support/d1-host.ts";

/**
 * D1 through a real Worker, beside miniflare in the same run: `node bench/d1.ts [rounds] [seconds]` (after
 * `node scripts/build.ts`). Rounds are interleaved, since the machine may be busy with other things.
 */
const rounds = Number(process.argv[2] ?? 5);
const seconds = Number(process.argv[3] ?? 2);

const script = `export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/get") {
      const id = 1 + Math.floor(Math.random() * 1000);
      return Response.json(await env.DB.prepare("SELECT * FROM users WHERE id = ?").bind(id).first());
    }
    if (pathname === "/put") {
      const { meta } = await env.DB.prepare("INSERT INTO events (name, value) VALUES (?, ?)").bind("name", "value").run();
      return Response.json(meta.last_row_id);
    }
    if (pathname === "/setup") {
      await env.DB.exec("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, mail TEXT)");
      await env.DB.exec("CREATE TABLE events (id INTEGER PRIMARY KEY, name TEXT, value TEXT)");
      await env.DB.exec("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO users SELECT i, 'name ' || i, i || '@example.com' FROM n");
    }
    return new Response("ok");
  },
};`;

type Target = { name: string; connection: { path: string } | { port: number; host: string }; pid?: number };
type Sample = { rate: number; p50: number; p99: number; cpu: number | undefined };

/** Requests per second of `connections` clients that each wait for the answer before they ask again. */
async function load(target: Target, path: string, connections: number, ms: number): Promise<Sample> {
  const request = Buffer.from(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  const times: number[] = [];
  const began = performance.now();
  const cpuBefore = target.pid === undefined ? 0 : cpuMicroseconds(target.pid);
  await Promise.all(Array.from({ length: connections }, () => client(target, request, began + ms, times)));
  const elapsed = performance.now() - began;
  const cpu = target.pid === undefined ? undefined : (cpuMicroseconds(target.pid) - cpuBefore) / times.length;
  times.sort((a, b) => a - b);
  const at = (part: number) => times[Math.floor(times.length * part)] ?? 0;
  return { rate: (times.length / elapsed) * 1000, p50: at(0.5), p99: at(0.99), cpu };
}

async function client(target: Target, request: Buffer, end: number, times: number[]): Promise<void> {
  const socket = connect(target.connection);
  let sent = 0;
  let pending = "";
  await new Promise<void>((resolve, reject) => {
    const ask = () => {
      sent = performance.now();
      socket.write(request);
    };
    socket.on("connect", ask);
    socket.on("error", reject);
    socket.on("data", (bytes) => {
      pending += bytes.toString("latin1");
      const head = pending.indexOf("\r\n\r\n");
      const length = /content-length: (\d+)/i.exec(pending)?.[1];
      if (head < 0 || length === undefined || pending.length < head + 4 + Number(length)) return;
      if (!pending.startsWith("HTTP/1.1 200")) return reject(new Error(pending.slice(0, 500)));
      pending = "";
      const now = performance.now();
      times.push(now - sent);
      if (now < end) return ask();
      socket.end();
      resolve();
    });
  });
}

/** User and system time of a process, https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html; a tick is 10 ms. */
function cpuMicroseconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

function privateMegabytes(pid: number): string {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const kilobytes = ["Private_Clean", "Private_Dirty"].map((name) =>
    Number(new RegExp(`${name}: +(\\d+)`).exec(rollup)?.[1]),
  );
  return (kilobytes.reduce((a, b) => a + b) / 1024).toFixed(1);
}

const best = (samples: Sample[]) => samples.reduce((a, b) => (a.rate > b.rate ? a : b));
const median = (numbers: number[]) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;

const folders = testFolders();
const startedAt = performance.now();
const host = await startD1Host(folders);
const startMs = performance.now() - startedAt;
const hosts = d1Hosts({ socketOf: folders.runtime.d1Host, capabilityKey: testKey, scope: "bench" });
const place = { host: 0, id: newUuid() };
await hosts.create(place);
const worker = await startD1Worker(folders, { modules: { "worker.js": script }, databaseId: place.id });
const miniflare = new Miniflare(
  convertV4MiniflareOptions({
    modules: true,
    compatibilityDate: "2026-08-01",
    d1Databases: { DB: "bench" },
    d1Persist: `${folders.root}/miniflare`,
    script,
  }),
);
const url = await miniflare.ready;
const targets: [Target, Target] = [
  { name: "miniflare", connection: { host: url.hostname, port: Number(url.port) } },
  { name: "d1 host", connection: { path: worker.socket }, pid: host.pid },
];
for (const target of targets) await load(target, "/setup", 1, 0);

console.log(
  `${cpus()[0]?.model}, ${cpus().length} cores, load ${loadavg()
    .map((n) => n.toFixed(1))
    .join(" ")}, Node ${process.version}`,
);
console.log(`host started and ready in ${startMs.toFixed(0)} ms, private ${privateMegabytes(host.pid)} MB`);
for (const path of ["/get", "/put"])
  for (const connections of [1, 16]) {
    const samples: [Sample[], Sample[]] = [[], []];
    for (let round = 0; round < rounds; round++)
      for (const index of [0, 1] as const)
        samples[index].push(await load(targets[index], path, connections, seconds * 1000));
    const ratios = samples[1].map(({ rate }, round) => rate / (samples[0][round]?.rate ?? 1));
    for (const index of [0, 1] as const) {
      const { rate, p50, p99 } = best(samples[index]);
      const cpu = samples[index].map((sample) => sample.cpu).filter((number) => number !== undefined);
      const used = cpu.length > 0 ? `, host CPU ${Math.min(...cpu).toFixed(0)}–${Math.max(...cpu).toFixed(0)} µs` : "";
      console.log(
        `${path} c=${connections} ${targets[index].name}: best ${rate.toFixed(0)}/s, p50 ${p50.toFixed(2)} p99 ${p99.toFixed(1)} ms${used}`,
      );
    }
    console.log(
      `${path} c=${connections} ratio: median ${median(ratios).toFixed(2)}, ${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)}`,
    );
  }

console.log(`host after the load: private ${privateMegabytes(host.pid)} MB`);
await host.kill();
const fresh = await startD1Host(folders);
const many = Array.from({ length: 50 }, () => ({ host: 0, id: newUuid() }));
for (const database of many) {
  await hosts.create(database);
  await hosts.queryObjects(database, [{ sql: "CREATE TABLE t (a); INSERT INTO t VALUES (1)" }]);
}
await Promise.all(many.map((database) => hosts.queryObjects(database, [{ sql: "SELECT * FROM t" }])));
console.log(`a fresh host with 50 open databases: private ${privateMegabytes(fresh.pid)} MB`);

hosts.close();
await worker.kill();
await fresh.kill();
await miniflare.dispose();
folders.remove();
