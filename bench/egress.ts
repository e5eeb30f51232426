import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, request, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { pollUntil } from "#core/deadline.ts";
import { egressConfig, type EgressRules } from "#runtime/egress-config.ts";
import { heapFlags } from "#runtime/worker-config.ts";
import { cpuMicroseconds, residentMegabytes } from "../test/support/child-process.ts";
import { runVersion, testRouter, type RunningVersion } from "../test/support/worker-version.ts";
import { startWorkerd, temporaryFolder } from "../test/support/workerd.ts";
import { machine, median, spread } from "./support/figures.ts";

/**
 * What leaving through the egress process costs, beside a Worker with a network of its own, rounds interleaved:
 * `node bench/egress.ts [rounds] [calls]`. Then streams and large bodies through it, and the memory that they take.
 */
const [rounds = 5, calls = 4000] = process.argv.slice(2).map(Number);
const atOnce = 16;
const streams = 1000;
const largeBytes = 100_000_000;

const script = `
const origin = ORIGIN;
export default {
  async fetch(request) {
    const url = new URL(request.url);
    if (url.pathname === "/calls") {
      const each = async () => {
        for (let n = 0; n < Number(url.searchParams.get("n")); n++) await (await fetch(origin + "/hello")).text();
      };
      await Promise.all(Array.from({ length: ${atOnce} }, each));
      return new Response("ok");
    }
    return fetch(origin + url.pathname, { method: request.method, body: request.body });
  },
};`;

/** The server on the other side: this file again, so that what it costs is not counted. */
async function serveOrigin(): Promise<void> {
  const piece = Buffer.alloc(64 * 1024, "x");
  const answer = async (incoming: IncomingMessage, response: ServerResponse) => {
    if (incoming.url === "/events") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      const timer = setInterval(() => response.write("data: tick\n\n"), 1000);
      response.on("close", () => clearInterval(timer));
      response.write("data: first\n\n");
    } else if (incoming.url === "/down") {
      for (let sent = 0; sent < largeBytes; sent += piece.length)
        if (!response.write(piece.subarray(0, Math.min(piece.length, largeBytes - sent))))
          await once(response, "drain");
      response.end();
    } else {
      let bytes = 0;
      for await (const chunk of incoming) bytes += (chunk as Buffer).length;
      response.end(String(bytes));
    }
  };
  // A client that leaves is none of the bench's business.
  const server = createServer((incoming, response) => void answer(incoming, response).catch(() => response.destroy()));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  process.send?.((server.address() as AddressInfo).port);
}

async function main(): Promise<void> {
  const origin = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", import.meta.filename, "origin"], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const [port] = (await once(origin, "message")) as [number];
  const source = script.replace("ORIGIN", JSON.stringify(`http://127.0.0.1:${port}`));
  const v8Flags = heapFlags(256 * 1024 ** 2);
  const version = { modules: [{ name: "index.js", source }] };
  // The rules let the bench reach its own machine; the router is set as it is where they do not, which is the usual case.
  const rules: EgressRules = { allow: ["public", "local"], deny: [], ownAddresses: [] };
  await using through = await runVersion(version, { router: testRouter, v8Flags });
  await using direct = await runVersion(version, { edit: withOwnNetwork, v8Flags });
  using folder = temporaryFolder();
  await using egress = await startWorkerd({
    folder: folder.path,
    text: egressConfig({ socket: through.layout.egress, rules }),
  });
  console.log(machine());
  await compareCalls({ through, direct, egressPid: egress.pid });
  await measureStreams(through, egress.pid);
  for (const way of ["down", "up"] as const) await measureLarge(way, through, egress.pid);
  origin.kill();
}

function withOwnNetwork(text: string): string {
  return text
    .replace('globalOutbound = "router"', 'globalOutbound = "direct"')
    .replace("services = [", 'services = [(name = "direct", network = (allow = ["public", "local"])), ');
}

async function compareCalls(sides: {
  through: RunningVersion;
  direct: RunningVersion;
  egressPid: number;
}): Promise<void> {
  const { through, direct, egressPid } = sides;
  const figures = { direct: [] as number[], worker: [] as number[], egress: [] as number[], added: [] as number[] };
  for (let round = -1; round < rounds; round++) {
    const alone = await costOf(direct, [direct.workerd.pid]);
    const [worker = 0, egress = 0] = await costOf(through, [through.workerd.pid, egressPid]);
    // The first round warms up.
    if (round < 0) continue;
    figures.direct.push(alone[0] ?? 0);
    figures.worker.push(worker);
    figures.egress.push(egress);
    figures.added.push(worker + egress - (alone[0] ?? 0));
  }
  console.log(`CPU a call, µs, ${calls} calls, ${atOnce} at once, median (smallest–largest) of ${rounds} rounds`);
  console.log(`  own network   worker ${spread(figures.direct, 0)}`);
  console.log(`  through       worker ${spread(figures.worker, 0)}   egress ${spread(figures.egress, 0)}`);
  console.log(`  added         ${spread(figures.added, 0)}`);
  if (median(figures.added) > 90) console.log("  above the aim of 90");
}

/** CPU microseconds a call of each process. */
async function costOf(version: RunningVersion, pids: readonly number[]): Promise<number[]> {
  const before = pids.map(cpuMicroseconds);
  const { body } = await version.get(`/calls?n=${calls / atOnce}`);
  if (body !== "ok") throw new Error(body);
  return pids.map((pid, index) => (cpuMicroseconds(pid) - (before[index] ?? 0)) / calls);
}

async function measureStreams(version: RunningVersion, egressPid: number): Promise<void> {
  const rss = () =>
    `worker ${residentMegabytes(version.workerd.pid).toFixed(0)}, egress ${residentMegabytes(egressPid).toFixed(0)} MB`;
  const before = rss();
  const seen = { events: 0 };
  const open = await Promise.all(
    Array.from({ length: streams }, async () => {
      const incoming = await ask(version, "/events", "GET");
      incoming.on("data", () => seen.events++);
      return incoming;
    }),
  );
  const began = performance.now();
  await pollUntil({ ms: 15_000, everyMs: 50, what: "events" }, () => (seen.events >= streams * 4 ? true : undefined));
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  console.log(`${streams} event streams at once: ${seen.events} events in ${seconds} s`);
  console.log(`  memory before ${before}; during ${rss()}`);
  for (const incoming of open) incoming.destroy();
}

async function measureLarge(way: "up" | "down", version: RunningVersion, egressPid: number): Promise<void> {
  const pids = [version.workerd.pid, egressPid];
  const before = pids.map(residentMegabytes);
  const peak = [...before];
  const timer = setInterval(
    () => pids.forEach((pid, index) => (peak[index] = Math.max(peak[index] ?? 0, residentMegabytes(pid)))),
    10,
  );
  const began = performance.now();
  const incoming = await ask(version, `/${way}`, way === "up" ? "POST" : "GET");
  let bytes = 0;
  let text = "";
  for await (const chunk of incoming) {
    bytes += (chunk as Buffer).length;
    if (way === "up") text += String(chunk);
  }
  clearInterval(timer);
  const moved = way === "up" ? Number(text) : bytes;
  const seconds = (performance.now() - began) / 1000;
  const memory = (values: readonly number[]) => `worker ${values[0]?.toFixed(0)}, egress ${values[1]?.toFixed(0)} MB`;
  console.log(
    `${moved / 1e6} MB ${way} in ${seconds.toFixed(1)} s; memory before ${memory(before)}; at most ${memory(peak)}`,
  );
}

async function ask(version: RunningVersion, path: string, method: string): Promise<IncomingMessage> {
  const headers = { host: "bench.localhost:8787", ...(method === "POST" ? { "content-length": largeBytes } : {}) };
  const outgoing = request({ socketPath: version.sockets.http, path, method, headers, agent: false });
  const response = once(outgoing, "response") as Promise<[IncomingMessage]>;
  if (method === "POST") {
    const piece = Buffer.alloc(100_000, "y");
    for (let sent = 0; sent < largeBytes; sent += piece.length)
      if (!outgoing.write(piece)) await once(outgoing, "drain");
  }
  outgoing.end();
  return (await response)[0];
}

await (process.argv[2] === "origin" ? serveOrigin() : main());
