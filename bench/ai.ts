import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { pollUntil } from "#core/deadline.ts";
import { cpuMicroseconds, residentMegabytes, startScript, stopProcess } from "../test/support/child-process.ts";
import { machine, spread } from "./support/figures.ts";
import { runLoad, type LoadOptions } from "./support/load.ts";

/**
 * What a request through AI Gateway costs, beside a pass-through of undici and Portkey's gateway: one provider that answers at
 * once, interleaved rounds. CPU is of the process in the middle alone; the times are of one connection.
 * `node bench/ai.ts [--rounds 5] [--seconds 1]`
 */
const { values } = parseArgs({
  options: { rounds: { type: "string", default: "5" }, seconds: { type: "string", default: "1" } },
});
const seconds = Number(values.seconds);

type Contestant = { name: string; pid: number; to: LoadOptions["to"]; target: string; headers: string[] };

const folder = mkdtempSync(join(tmpdir(), "solum-bench-ai-"));
const script = (name: string) => join(import.meta.dirname, "support", `serve-${name}.ts`);
const provider = await startScript(script("provider"), {});
const port = Number(provider.line);
const passThrough = await startScript(script("pass-through"), { provider: port, path: join(folder, "pass.sock") });
const gateway = await startScript(script("gateway"), { provider: port });
const { socket, target } = JSON.parse(gateway.line) as { socket: string; target: string };
const portkeyPort = await freePort();
const portkey = spawn(
  process.execPath,
  [
    fileURLToPath(import.meta.resolve("@portkey-ai/gateway/build/start-server.js")),
    `--port=${portkeyPort}`,
    "--headless",
  ],
  { stdio: "ignore" },
);

const ours = { name: "solum", pid: gateway.child.pid ?? 0, to: { path: socket }, target };
const contestants: Contestant[] = [
  {
    name: "undici pass-through",
    pid: passThrough.child.pid ?? 0,
    to: { path: passThrough.line },
    target: "/v1/chat/completions",
    headers: [],
  },
  { ...ours, headers: [] },
  {
    name: "portkey 1.15.2",
    pid: portkey.pid ?? 0,
    to: { port: portkeyPort },
    target: "/v1/chat/completions",
    headers: ["x-portkey-provider: openai", `x-portkey-custom-host: http://127.0.0.1:${port}/v1`],
  },
];

try {
  await pollUntil({ ms: 20_000, everyMs: 100, what: "portkey" }, async () =>
    fetch(`http://127.0.0.1:${portkeyPort}/`).then(
      () => true,
      () => undefined,
    ),
  );
  console.log(machine());
  console.log(`${values.rounds} rounds of ${seconds} s; 32 connections for CPU, 1 for times\n`);
  await compare("JSON", false, contestants);
  await compare("52 events", true, contestants);
  await compare("from the cache", false, [{ ...ours, headers: ["cf-aig-cache-ttl: 3600"] }]);
  console.log(`memory of Solum's process afterwards: ${residentMegabytes(ours.pid).toFixed(0)} MB`);
} finally {
  for (const child of [portkey, gateway.child, passThrough.child, provider.child]) await stopProcess(child);
  rmSync(folder, { recursive: true, force: true });
}

async function compare(name: string, stream: boolean, all: readonly Contestant[]): Promise<void> {
  const samples = new Map(
    all.map((contestant) => [
      contestant,
      { cpu: [] as number[], p50: [] as number[], p99: [] as number[], failures: 0 },
    ]),
  );
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const contestant of round % 2 === 0 ? all : all.toReversed()) {
      const sample = samples.get(contestant);
      if (!sample) continue;
      const load = { to: contestant.to, seconds, warmupSeconds: 0.3, request: requestFor(contestant, stream) };
      const before = cpuMicroseconds(contestant.pid);
      const many = await runLoad({ ...load, warmupSeconds: 0, connections: 32 });
      sample.cpu.push((cpuMicroseconds(contestant.pid) - before) / Math.max(1, many.requests));
      const single = await runLoad({ ...load, connections: 1 });
      sample.p50.push(single.p50Ms);
      sample.p99.push(single.p99Ms);
      sample.failures += many.failures + single.failures;
    }
  }
  console.log(`${name}:`);
  for (const [contestant, { cpu, p50, p99, failures }] of samples)
    console.log(
      `  ${contestant.name.padEnd(20)} ${spread(cpu, 0)} µs CPU a request, p50 ${spread(p50, 2)} ms, p99 ${spread(p99, 2)} ms${failures > 0 ? `, ${failures} failures` : ""}`,
    );
}

function requestFor({ target: path, headers }: Contestant, stream: boolean): string {
  const body = JSON.stringify({
    model: "gpt-4o-mini",
    ...(stream ? { stream: true, stream_options: { include_usage: true } } : {}),
    messages: [{ role: "user", content: "Whose is the ground? ".repeat(80) }],
  });
  const head = [
    `POST ${path} HTTP/1.1`,
    "host: gateway.localhost",
    "content-type: application/json",
    "authorization: Bearer sk-test",
    `content-length: ${body.length}`,
    ...headers,
  ];
  return `${head.join("\r\n")}\r\n\r\n${body}`;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  if (typeof address !== "object" || !address) throw new Error("no port");
  return address.port;
}
