import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { findChildren } from "#runtime/proc.ts";
import { findLosses, products, Writers, type Product } from "../support/ledger.ts";
import { Solum } from "../support/start-solum.ts";

/**
 * `kill -9` of each process at random points while a client writes through KV, D1 and R2 (guarantees G1, G2, G8). `KILLS` says
 * how often each is killed.
 */
const kills = Number(process.env["KILLS"] ?? 3);
/** How many kills there are in random order: a few here, 1,000 with `npm run soak`. */
const randomKills = Number(process.env["RANDOM_KILLS"] ?? 16);
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
  for (const product of products) expect.soft(writers.ledgers[product].failures, product).toEqual([]);
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

test(
  "one after the other in random order: requests fail only while what they need restarts",
  async () => {
    const writers = new Writers(solum, host());
    writers.start(3);
    const windows: Window[] = [];
    for (let round = 0; round < randomKills; round++) {
      await sleep(100 + random() * 400);
      const name = everything[Math.floor(random() * everything.length)] ?? "supervisor";
      windows.push(await killAndWait(name));
    }
    await untilServing();
    await writers.stop();
    printWindows(windows);
    await report(`in random order, ${randomKills} in all`, writers);
    for (const product of products) {
      const outside = writers.ledgers[product].failures.filter(
        (failure) => !windows.some((window) => needs[product].includes(window.name) && overlaps(failure, window)),
      );
      expect.soft(outside, product).toEqual([]);
    }
  },
  // A kill and its restart take up to 3 s on a machine with other work.
  300_000 + randomKills * 3000,
);

/** From the kill of a process until it serves again, by `performance.now()`. */
type Window = { name: string; began: number; ended: number };

const everything = ["supervisor", ...processes] as const;
type Victim = (typeof everything)[number];

/** Whose restart a write of each product may notice. The others restart without any failure. */
const needs: Record<Product, readonly string[]> = {
  kv: ["ingress", "state", "front"],
  r2: ["ingress", "state", "front"],
  d1: ["ingress", "d1-0", "d1-1", "front"],
};

function overlaps({ began, ended }: { began: number; ended: number }, window: Window): boolean {
  return began <= window.ended && ended >= window.began;
}

async function killAndWait(name: Victim): Promise<Window> {
  const began = performance.now();
  if (name === "supervisor") {
    await solum.killSupervisor();
    await solum.up();
    return { name, began, ended: performance.now() };
  }
  const before = await stateOf(name);
  if (before) process.kill(before.pid, "SIGKILL");
  await pollUntil({ ms: 20_000, everyMs: 5, what: `${name} coming back` }, async () => {
    const now = await stateOf(name);
    return !before || (now?.ready && now.pid !== before.pid) ? true : undefined;
  });
  // Ready is what the supervisor knows; the ingress knows a moment later.
  if (name === "front") await untilServing();
  return { name, began, ended: performance.now() };
}

async function stateOf(name: Victim): Promise<{ pid: number; ready: boolean } | undefined> {
  const { services, fronts } = await solum.status();
  const found =
    name === "front"
      ? fronts.find(({ scriptName }) => scriptName === "bindings")
      : services.find((service) => service.name === name);
  return found?.pid === undefined ? undefined : { pid: found.pid, ready: found.state === "ready" };
}

function printWindows(windows: readonly Window[]): void {
  for (const [name, own] of Map.groupBy(windows, (window) => window.name)) {
    const lengths = own.map(({ began, ended }) => Math.round(ended - began)).toSorted((a, b) => a - b);
    process.stdout.write(`  ${name} was away ${own.length} times, ms: ${lengths.slice(-20).join(" ")}\n`);
  }
}

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
