import { fork, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { availableParallelism, cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { pollUntil } from "#core/deadline.ts";
import { runLoad } from "./support/load.ts";

/**
 * The S3 endpoint beside nginx that serves and stores files (WebDAV), rounds interleaved: `node bench/s3.ts [rounds] [seconds]`.
 * Both on unix sockets, without the ingress. nginx neither checks a signature nor makes a checksum nor waits for the disk.
 */
const [rounds = 3, seconds = 2] = process.argv.slice(2).map(Number);
const connections = 8;
const [small, large] = [10 * 1024, 100 * 1024 * 1024];
const folder = mkdtempSync(join(tmpdir(), "solum-s3-bench-"));

type Peer = { name: string; socket: string; host: string; put: string; get: string };

async function startEndpoint(): Promise<{ peer: Peer; pid: number; stop: () => void }> {
  const child = fork(join(import.meta.dirname, "../test/support/serve-s3.ts"), [folder]);
  const [{ put, get }] = (await once(child, "message")) as [{ put: string; get: string }];
  const peer = { name: "solum", socket: join(folder, "s"), host: "s3.localhost", put, get };
  return { peer, pid: child.pid ?? 0, stop: () => void child.kill() };
}

async function startNginx(): Promise<{ peer: Peer; stop: () => void } | undefined> {
  if (!existsSync("/usr/sbin/nginx")) return undefined;
  const root = join(folder, "nginx");
  mkdirSync(join(root, "files"), { recursive: true });
  const config = join(root, "nginx.conf");
  const socket = join(root, "s");
  writeFileSync(
    config,
    `${process.getuid?.() === 0 ? "user root;" : ""}
daemon off; worker_processes ${Math.max(1, availableParallelism() - 1)}; pid ${root}/pid; error_log ${root}/error.log;
events { worker_connections 256; }
http {
  access_log off; sendfile on; client_max_body_size 0; client_body_temp_path ${root}/temp; keepalive_requests 1000000;
  server { listen unix:${socket}; root ${root}/files; location / { dav_methods PUT; } }
}
`,
  );
  const child = spawn("/usr/sbin/nginx", ["-c", config, "-p", root, "-e", join(root, "error.log")], {
    stdio: "ignore",
  });
  await pollUntil({ ms: 5000, everyMs: 20, what: "nginx" }, () => (existsSync(socket) ? true : undefined));
  return { peer: { name: "nginx", socket, host: "x", put: "/k", get: "/k" }, stop: () => void child.kill() };
}

/** Requests a second of 10 KB. */
async function many({ socket, host, put, get }: Peer, what: "put" | "get"): Promise<{ value: number; p50Ms: number }> {
  const body = "x".repeat(small);
  const put10 = `PUT ${put} HTTP/1.1\r\nhost: ${host}\r\ncontent-length: ${small}\r\n\r\n${body}`;
  const text = what === "put" ? put10 : `GET ${get} HTTP/1.1\r\nhost: ${host}\r\n\r\n`;
  if (what === "get") await transfer({ socket, host, path: put, method: "PUT", bytes: small });
  const result = await runLoad({ to: { path: socket }, connections, seconds, warmupSeconds: 0.5, request: text });
  if (result.failures > 0) throw new Error(`${result.failures} requests failed`);
  return { value: result.requestsPerSecond, p50Ms: result.p50Ms };
}

async function transfer(options: { socket: string; host: string; path: string; method: string; bytes: number }) {
  const { socket, host, path, method, bytes } = options;
  const headers = { host, ...(method === "PUT" ? { "content-length": bytes } : {}) };
  const outgoing = request({ socketPath: socket, path, method, headers });
  const answered = once(outgoing, "response") as Promise<[AsyncIterable<Buffer> & { statusCode: number }]>;
  if (method === "PUT") {
    const piece = Buffer.alloc(Math.min(bytes, 1024 * 1024), 7);
    for (let at = 0; at < bytes; at += piece.length) if (!outgoing.write(piece)) await once(outgoing, "drain");
  }
  outgoing.end();
  const [response] = await answered;
  for await (const _ of response);
  if (response.statusCode >= 300) throw new Error(`answered ${response.statusCode}`);
}

/** MB a second of one transfer of 100 MB. */
async function one({ socket, host, put, get }: Peer, what: "put" | "get"): Promise<{ value: number; p50Ms: number }> {
  const begun = performance.now();
  const [path, method] = what === "put" ? [put, "PUT"] : [get, "GET"];
  await transfer({ socket, host, path, method, bytes: large });
  const ms = performance.now() - begun;
  return { value: large / 1e6 / (ms / 1000), p50Ms: ms };
}

const scenarios = [
  ["put 10 KB, requests/s", (peer: Peer) => many(peer, "put")],
  ["get 10 KB, requests/s", (peer: Peer) => many(peer, "get")],
  ["put 100 MB, MB/s", (peer: Peer) => one(peer, "put")],
  ["get 100 MB, MB/s", (peer: Peer) => one(peer, "get")],
] as const;

const endpoint = await startEndpoint();
const nginx = await startNginx();
try {
  console.log(
    `${cpus()[0]?.model ?? "?"} × ${availableParallelism()}, load ${loadavg()[0]?.toFixed(1)}, ${rounds} rounds × ${seconds} s`,
  );
  const idle = residentMegabytes(endpoint.pid);
  for (const [name, measure] of scenarios) {
    const best = new Map<string, number>();
    const middle: string[] = [];
    // nginx answers a put of an existing file without a length, which the load's client does not take.
    const peers = name.startsWith("put 10 KB") ? [endpoint] : [endpoint, nginx];
    for (let round = 0; round < rounds; round++) {
      for (const { peer } of peers.filter((server) => server !== undefined)) {
        const { value, p50Ms } = await measure(peer);
        best.set(peer.name, Math.max(best.get(peer.name) ?? 0, value));
        middle.push(`${peer.name} ${value.toFixed(0)} (${p50Ms.toFixed(2)} ms)`);
      }
    }
    const [ours = 0, theirs] = [best.get("solum"), best.get("nginx")];
    const share = theirs ? ` = ${((100 * ours) / theirs).toFixed(0)} % of nginx` : "";
    console.log(`${name.padEnd(22)} best ${ours.toFixed(0)}${share}   [${middle.join(", ")}]`);
  }
  console.log(`resident: ${idle} MB idle, ${residentMegabytes(endpoint.pid)} MB now`);
} finally {
  endpoint.stop();
  nginx?.stop();
  rmSync(folder, { recursive: true, force: true });
}

function residentMegabytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Math.round(Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1]) / 1024);
}
