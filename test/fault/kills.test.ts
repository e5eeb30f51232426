import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { findChildren } from "#runtime/proc.ts";
import { findLosses, products, Writers } from "../support/ledger.ts";
import { Solum } from "../support/start-solum.ts";

/**
 * `kill -9` of each process at random points while a client writes through KV, D1 and R2 (guarantees G1, G2, G8). `KILLS` says
 * how often each is killed: a few times here, 20 with `npm run test:kills`.
 */
const kills = Number(process.env["KILLS"] ?? 3);
const seed = Number(process.env["SEED"] ?? Date.now() % 1_000_000);
const random = mulberry(seed);

let solum: Solum;
beforeAll(async () => {
  solum = await Solum.start();
  const project = solum.project("bindings");
  const deployed = await solum.wrangler(project, ["deploy"]);
  expect(deployed.code, deployed.output).toBe(0);
  await solum.wrangler(project, ["d1", "migrations", "apply", "DB", "--remote"]);
});
afterAll(() => solum[Symbol.asyncDispose]());

const host = () => `bindings.localhost:${solum.port}`;
const processes = ["control", "ingress", "state", "d1-0", "d1-1", "egress", "front"] as const;

test.each(processes)("%s is killed again and again: nothing that was acknowledged is lost", async (name) => {
  const writers = new Writers(solum, host());
  writers.start(3);
  for (let round = 0; round < kills; round++) {
    await sleep(200 + random() * 800);
    const victim = findChildren(solum.runtime).find(
      ({ mark }) => mark.name === name || mark.name.startsWith(`${name}/`),
    );
    if (victim) process.kill(victim.facts.pid, "SIGKILL");
  }
  await untilServing();
  await writers.stop();
  await report(name, writers);
});

test("solum up is killed again and again: what it started goes on, and the next one takes it over", async () => {
  const writers = new Writers(solum, host());
  writers.start(3);
  const before = pids();
  for (let round = 0; round < kills; round++) {
    await sleep(200 + random() * 500);
    await solum.killSupervisor();
    await sleep(random() * 300);
    await solum.up();
  }
  await untilServing();
  await writers.stop();
  await report("solum up", writers);
  for (const product of products) expect.soft(writers.ledgers[product].failed, product).toBe(0);
  expect(pids()).toEqual(before);
});

test("everything is killed at once: the next start finds no port, socket or folder taken", async () => {
  const writers = new Writers(solum, host());
  writers.start(2);
  for (let round = 0; round < Math.min(kills, 5); round++) {
    await sleep(300 + random() * 500);
    for (const { facts } of findChildren(solum.runtime)) process.kill(facts.pid, "SIGKILL");
    await solum.killSupervisor();
    await solum.up();
    await untilServing();
  }
  await writers.stop();
  await report("everything", writers);
});

async function report(name: string, writers: Writers): Promise<void> {
  const { ledgers } = writers;
  const line = products.map(
    (product) =>
      `${product} ${ledgers[product].acknowledged.size} acknowledged, longest gap ${Math.round(ledgers[product].longestGapMs)} ms`,
  );
  process.stdout.write(`  ${name}, killed ${kills} times (seed ${seed}): ${line.join("; ")}\n`);
  for (const product of products) expect.soft(ledgers[product].acknowledged.size, product).toBeGreaterThan(10);
  expect(await findLosses(solum, ledgers)).toEqual([]);
}

/** Every binding answers again. */
async function untilServing(): Promise<void> {
  await pollUntil({ ms: 20_000, everyMs: 50, what: "coming back" }, async () => {
    const answers = await Promise.all(
      ["/kv?key=x", "/d1", "/r2?key=x"].map((path) => solum.request("bindings.localhost", path).catch(() => undefined)),
    );
    return answers.every((answer, index) => answer?.status === (index === 2 ? 404 : 200)) ? true : undefined;
  });
}

function pids(): Record<string, number> {
  return Object.fromEntries(findChildren(solum.runtime).map(({ mark, facts }) => [mark.name, facts.pid]));
}

/** A small seeded generator, so that a run can be repeated. */
function mulberry(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
