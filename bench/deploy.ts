import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Solum } from "../test/support/start-solum.ts";
import { machine, spread } from "./support/figures.ts";

/**
 * From the end of wrangler's upload to the first answer of the new version, and how long `wrangler deploy` took in all.
 * `node bench/deploy.ts [--deploys 20]`
 */
const { values } = parseArgs({ options: { deploys: { type: "string", default: "20" } } });
const deploys = Number(values.deploys);

await using solum = await Solum.start();
const project = solum.project("hello");
const main = join(project, "index.js");
const source = readFileSync(main, "utf8");
const live: number[] = [];
const whole: number[] = [];
for (let round = 1; round <= deploys; round++) {
  writeFileSync(main, source.replace("} 1", `} ${round}`));
  const deploying = new AbortController();
  const firstAnswer = untilAnswers(`Hello ${round}`, deploying.signal);
  const began = performance.now();
  const { code, output } = await solum.wrangler(project, ["deploy"]);
  whole.push(performance.now() - began);
  if (code !== 0) throw new Error(output);
  const answeredAt = await firstAnswer;
  live.push(answeredAt - (await uploadedAt()));
}
console.log(machine());
console.log(`${deploys} deploys with wrangler, a client asking every few milliseconds`);
console.log(`end of the upload to the first answer of the new version: ${spread(live, 0)} ms`);
console.log(`wrangler deploy from start to end: ${spread(whole, 0)} ms`);

/** When the first answer of a version came, ms since 1970. */
async function untilAnswers(wanted: string, signal: AbortSignal): Promise<number> {
  for (;;) {
    signal.throwIfAborted();
    const { text } = await solum.request("hello.localhost");
    if (text === wanted) return Date.now();
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** When the platform had the latest version whole, ms since 1970. */
async function uploadedAt(): Promise<number> {
  const { json } = await solum.api("GET", "/workers/scripts/hello/versions");
  const [latest] = (json.result as { items: { metadata: { created_on: string } }[] }).items;
  return Date.parse(latest?.metadata.created_on ?? "");
}
