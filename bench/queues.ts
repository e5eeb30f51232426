import { join } from "node:path";
import { parseArgs } from "node:util";
import { pollUntil } from "#core/deadline.ts";
import { startScript, stopProcess } from "../test/support/child-process.ts";
import { Solum } from "../test/support/start-solum.ts";
import { machine, median, spread } from "./support/figures.ts";
import { runLoad } from "./support/load.ts";

/**
 * Sends to a queue that the same Worker consumes, on Solum, where a send is on disk when it resolves, and on miniflare, whose
 * queues are in memory. Interleaved rounds. `node bench/queues.ts [--rounds 3] [--seconds 3]`
 */
const { values } = parseArgs({
  options: { rounds: { type: "string", default: "3" }, seconds: { type: "string", default: "3" } },
});
const seconds = Number(values.seconds);

await using solum = await Solum.start();
const project = solum.project("bench-queues");
const made = await solum.api("POST", "/queues", { queue_name: "bench" });
const { queue_id: id } = made.json.result as { queue_id: string };
const deployed = await solum.wrangler(project, ["deploy"]);
if (deployed.code !== 0) throw new Error(deployed.output);
const serve = join(import.meta.dirname, "support", "serve-miniflare-queue.ts");
const { child, line } = await startScript(serve, { script: join(project, "index.js") });
const targets = {
  miniflare: { port: Number(line), host: `127.0.0.1:${line}` },
  solum: { port: solum.port, host: `bench-queues.localhost:${solum.port}` },
};

try {
  console.log(machine());
  for (const connections of [16, 1]) {
    const rates: Record<keyof typeof targets, number[]> = { miniflare: [], solum: [] };
    for (let round = 0; round < Number(values.rounds); round++)
      for (const name of ["miniflare", "solum"] as const) rates[name].push(await send(name, connections));
    const ratios = rates.solum.map((rate, round) => rate / (rates.miniflare[round] ?? 1));
    const both = `${median(rates.solum).toFixed(0)} / ${median(rates.miniflare).toFixed(0)} sends/s`;
    console.log(`send, c=${connections}: ratio ${spread(ratios, 2)}   ${both}`);
  }
} finally {
  await stopProcess(child);
}

async function send(name: keyof typeof targets, connections: number): Promise<number> {
  const { port, host } = targets[name];
  const request = `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
  const { requests, failures, requestsPerSecond } = await runLoad({
    to: { port },
    connections,
    seconds,
    warmupSeconds: 0.5,
    request,
  });
  if (failures > 0) throw new Error(`${failures} of ${requests} sends to ${name} failed`);
  if (name === "solum") await drained();
  return requestsPerSecond;
}

/** Until all that was sent is consumed: the next round begins with an empty queue. */
async function drained(): Promise<void> {
  const began = performance.now();
  const first = await backlog();
  await pollUntil({ ms: 60_000, everyMs: 20, what: "consuming" }, async () =>
    (await backlog()) === 0 ? true : undefined,
  );
  console.log(`  ${first} were left to consume, which took ${Math.round(performance.now() - began)} ms`);
}

async function backlog(): Promise<number> {
  const { json } = await solum.api("GET", `/queues/${id}/metrics`);
  return (json.result as { backlog_count: number }).backlog_count;
}
