import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { request, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { parseArgs } from "node:util";
import { findChildren } from "#runtime/proc.ts";
import { cpuMicroseconds, startScript, stopProcess } from "../test/support/child-process.ts";
import { Solum } from "../test/support/start-solum.ts";
import { machine, median, spread } from "./support/figures.ts";
import { runLoad, type LoadResult } from "./support/load.ts";

/**
 * The same Worker on Solum, through the ingress, and on miniflare with its state on disk: interleaved rounds, ratios with
 * their spread, and where Solum's CPU time goes. Both fsync each write.
 * `npm run bench -- [--rounds 5] [--seconds 2] [--connections 16] [--only kv-get,hello]`
 */
const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "2" },
    connections: { type: "string", default: "16" },
    only: { type: "string", default: "hello,kv-get,kv-put,kv-get-20,d1-get,d1-insert,r2-get,r2-put" },
  },
});
const seconds = Number(values.seconds);
const connections = Number(values.connections);

type Target = { name: string; port: number; host: string };
type Sample = LoadResult & { cpu: Record<string, number> };

const folder = mkdtempSync(join(tmpdir(), "solum-bench-"));
await using solum = await Solum.start();
const project = solum.project("bench");
const deployed = await solum.wrangler(project, ["deploy"]);
if (deployed.code !== 0) throw new Error(deployed.output);
const { child, line } = await startScript(join(import.meta.dirname, "support", "serve-miniflare.ts"), {
  script: join(project, "index.js"),
  folder,
});
const miniflare: Target = { name: "miniflare", port: Number(line), host: `127.0.0.1:${line}` };
const ours: Target = { name: "solum", port: solum.port, host: `bench.localhost:${solum.port}` };

try {
  console.log(machine());
  console.log(`${values.rounds} rounds of ${seconds} s, ${connections} connections, and one connection for p50\n`);
  for (const target of [miniflare, ours]) await setUp(target);
  for (const operation of values.only.split(",")) await compare(operation);
} finally {
  await stopProcess(child);
  rmSync(folder, { recursive: true, force: true });
}

async function compare(operation: string): Promise<void> {
  const many: { ours: Sample; peer: Sample }[] = [];
  const single: { ours: Sample; peer: Sample }[] = [];
  for (let round = 0; round < Number(values.rounds); round++) {
    // Who goes first changes: the machine's speed drifts.
    const order = round % 2 === 0 ? ([miniflare, ours] as const) : ([ours, miniflare] as const);
    many.push(await measureBoth(order, operation, connections));
    single.push(await measureBoth(order, operation, 1));
  }
  const rates = (which: "ours" | "peer") => median(many.map((pair) => pair[which].requestsPerSecond)).toFixed(0);
  const ratio = (pairs: typeof many) =>
    spread(
      pairs.map((pair) => pair.ours.requestsPerSecond / pair.peer.requestsPerSecond),
      2,
    );
  const p50 = (which: "ours" | "peer") => median(single.map((pair) => pair[which].p50Ms)).toFixed(2);
  const failures = [...many, ...single].reduce((sum, pair) => sum + pair.ours.failures, 0);
  const names = Object.keys(many[0]?.ours.cpu ?? {});
  const cpu = names.map((name) => `${name} ${median(many.map((pair) => pair.ours.cpu[name] ?? 0)).toFixed(0)}`);
  console.log(
    `${operation.padEnd(10)} ratio c=${connections} ${ratio(many)}   c=1 ${ratio(single)}   ${rates("ours")} / ${rates("peer")} rps   p50 c=1 ${p50("ours")} / ${p50("peer")} ms`,
  );
  console.log(`${" ".repeat(10)} CPU µs per request: ${cpu.join(", ")}${failures > 0 ? `   ${failures} FAILED` : ""}`);
}

async function measureBoth(
  order: readonly [Target, Target],
  operation: string,
  clients: number,
): Promise<{ ours: Sample; peer: Sample }> {
  const samples = {
    [order[0].name]: await measure(order[0], operation, clients),
    [order[1].name]: await measure(order[1], operation, clients),
  };
  return { ours: samples["solum"]!, peer: samples["miniflare"]! };
}

async function measure(target: Target, operation: string, clients: number): Promise<Sample> {
  const asked = `GET /${operation} HTTP/1.1\r\nHost: ${target.host}\r\n\r\n`;
  const before = target === ours ? cpuTimes() : {};
  const result = await runLoad({
    to: { port: target.port },
    connections: clients,
    seconds,
    warmupSeconds: 0.3,
    request: asked,
  });
  const after = target === ours ? cpuTimes() : {};
  // The warm-up's requests are not in the count; the time is scaled to what is.
  const share = seconds / (seconds + 0.3) / Math.max(1, result.requests);
  const used = Object.entries(after).map(([name, time]) => [name, (time - (before[name] ?? 0)) * share] as const);
  return { ...result, cpu: Object.fromEntries(used.filter(([, time]) => time >= 1)) };
}

function cpuTimes(): Record<string, number> {
  const times: Record<string, number> = {};
  for (const { mark, facts } of findChildren(solum.runtime))
    times[mark.name.startsWith("front/") ? "worker" : mark.name] = cpuMicroseconds(facts.pid);
  return times;
}

async function setUp({ port, host }: Target): Promise<void> {
  // `fetch` would put its own Host.
  const outgoing = request({ host: "127.0.0.1", port, path: "/setup", headers: { host } });
  outgoing.end();
  const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
  const said = await text(answer);
  if (answer.statusCode !== 200) throw new Error(`${host} could not be set up: ${said}`);
}
