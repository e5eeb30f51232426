import { once } from "node:events";
import { Agent, request, type IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";

/** Reads one after the other for a while, `pauseMs` apart. */
export type PacedReads = {
  port: number;
  path: string;
  headers: Record<string, string>;
  seconds: number;
  pauseMs: number;
};

/** How long each took, ms. In a process of its own: whatever else the test does does not hold up its clock. */
export async function pacedReads(reads: PacedReads): Promise<number[]> {
  const child = spawn(process.execPath, [import.meta.filename, JSON.stringify(reads)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  return JSON.parse(await text(child.stdout)) as number[];
}

async function run({ port, path, headers, seconds, pauseMs }: PacedReads): Promise<number[]> {
  const agent = new Agent({ keepAlive: true });
  const end = performance.now() + seconds * 1000;
  const took: number[] = [];
  while (performance.now() < end) {
    const start = performance.now();
    const outgoing = request({ host: "127.0.0.1", port, agent, path, headers }).end();
    const [response] = (await once(outgoing, "response")) as [IncomingMessage];
    response.resume();
    await once(response, "end");
    if (response.statusCode !== 200) throw new Error(`${path} answered ${response.statusCode}`);
    took.push(performance.now() - start);
    await sleep(pauseMs);
  }
  agent.destroy();
  return took;
}

if (process.argv[1] === import.meta.filename)
  process.stdout.write(JSON.stringify(await run(JSON.parse(process.argv[2] ?? "") as PacedReads)));
