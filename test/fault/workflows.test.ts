import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { findChildren, readMemory } from "#runtime/proc.ts";
import { giveAddress, uploadWorker } from "../support/direct-upload.ts";
import { Solum } from "../support/start-solum.ts";

/**
 * Workflows while everything that carries them is killed, and while they sleep. `WORKFLOW_INSTANCES` says how many run: some here,
 * 200 in a full run; `WORKFLOW_SLEEPERS` how many sleep: 10,000 there.
 */
const instances = Number(process.env["WORKFLOW_INSTANCES"] ?? 40);
const sleepers = Number(process.env["WORKFLOW_SLEEPERS"] ?? 300);
const steps = 6;
const idleMs = 1000;
/** Longer than the engine keeps a `run()` that waits: an alarm starts its process. */
const napMs = 63_000;
let wakesAt = 0;

let solum: Solum;
let ledger = "";
beforeAll(async () => {
  solum = await Solum.start("--idle-ms", String(idleMs), "--drain-ms", "1000");
  const { json } = await solum.api("POST", "/storage/kv/namespaces", { title: "ledger" });
  ledger = (json.result as { id: string }).id;
  await uploadWorker(solum, "chains", source, {
    compatibility_date: "2026-11-01",
    bindings: [
      { name: "LEDGER", type: "kv_namespace", namespace_id: ledger },
      { name: "CHAIN", type: "workflow", workflow_name: "chain", class_name: "Chain" },
    ],
  });
  await giveAddress(solum, "chains");
  wakesAt = Date.now() + napMs;
  await create("wakes", { sleepMs: napMs });
}, 60_000);
afterAll(() => solum[Symbol.asyncDispose]());

/** Each step notes in KV that it runs, under a token of its own, which is also its result. */
const source = `
import { WorkflowEntrypoint } from "cloudflare:workers";
export class Chain extends WorkflowEntrypoint {
  async run({ instanceId, payload }, step) {
    if (payload.sleepMs) { await step.sleep("long", payload.sleepMs); return Date.now(); }
    const tokens = [];
    const config = { retries: { limit: 1000, delay: 10, backoff: "constant" } };
    for (let i = 0; i < ${steps}; i++) {
      if (i === 3) await step.sleep("nap", 200);
      tokens.push(await step.do("s" + i, config, async () => {
        const token = crypto.randomUUID();
        await this.env.LEDGER.put(instanceId + "/" + i + "/" + token, "");
        await scheduler.wait(30 + Math.random() * 120);
        return token;
      }));
    }
    return tokens;
  }
}
export default {
  async fetch(request, env) {
    const { id, params } = await request.json();
    try { await env.CHAIN.create({ id, params }); } catch (error) {
      if (!error.message.includes("already_exists")) return new Response(error.message, { status: 500 });
    }
    return new Response("made");
  },
};`;

async function create(id: string, params: object): Promise<void> {
  await pollUntil({ ms: 60_000, everyMs: 50, what: `the acknowledgement of ${id}` }, async () => {
    const options = { method: "POST", body: JSON.stringify({ id, params }) };
    const answer = await solum.request("chains.localhost", "/", options).catch(() => undefined);
    return answer?.status === 200 ? true : undefined;
  });
}

type Details = {
  status: string;
  output: unknown;
  steps: { type: string; name: string; output: string; attempts: { success: boolean | null }[] }[];
};

const describe = async (id: string) =>
  (await solum.api("GET", `/workflows/chain/instances/${id}`)).json.result as Details;

async function counts(): Promise<Record<string, number>> {
  const answer = await solum.api("GET", "/workflows/chain").catch(() => undefined);
  return answer?.status === 200 ? (answer.json.result as { instances: Record<string, number> }).instances : {};
}

/** Every note of the ledger: the tokens of each step's runs. */
async function runs(): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  for (let cursor = ""; ;) {
    const path = `/storage/kv/namespaces/${ledger}/keys?limit=1000${cursor && `&cursor=${cursor}`}`;
    const { json } = await solum.api("GET", path);
    for (const { name } of json.result as { name: string }[]) {
      const [id, step, token = ""] = name.split("/");
      const key = `${id}/${step}`;
      found.set(key, [...(found.get(key) ?? []), token]);
    }
    const { cursor: next } = (json as unknown as { result_info: { cursor: string } }).result_info;
    if (!next) return found;
    cursor = encodeURIComponent(next);
  }
}

test("no finished step runs again, and all instances end, whatever is killed", { timeout: 1_800_000 }, async () => {
  const seed = Date.now() % 1_000_000;
  let random = seed;
  const next = () => (random = (random * 48_271) % 2_147_483_647) / 2_147_483_647;
  let made = 0;
  const making = (async () => {
    for (; made < instances; made++) {
      await create(`i${made}`, {});
      await sleep(20);
    }
  })();
  const killed: Record<string, number> = {};
  const isDone = async () => made === instances && (await counts())["complete"] === instances;
  const kills = Math.max(8, instances / 4);
  for (let kill = 0; kill < kills; kill++) {
    await sleep(100 + next() * 500);
    const found = findChildren(solum.runtime);
    // The process that has the instances is the one that matters most.
    const owners = found.filter(({ mark }) => mark.name.startsWith("owner/"));
    const pool = next() < 0.5 && owners.length > 0 ? owners : found;
    const victim = pool[Math.floor(next() * pool.length)];
    if (!victim) continue;
    const name = victim.mark.name.split("/")[0] ?? "";
    killed[name] = (killed[name] ?? 0) + 1;
    if (victim.facts.pid === solum.pid) continue;
    process.kill(victim.facts.pid, "SIGKILL");
    if (kill % 5 === 4) {
      await solum.killSupervisor();
      await solum.up();
      killed["supervisor"] = (killed["supervisor"] ?? 0) + 1;
    }
  }
  await making;
  await pollUntil({ ms: 240_000, everyMs: 200, what: "the end of all instances" }, async () =>
    (await isDone()) ? true : undefined,
  );
  const ledgerRuns = await runs();
  let interrupted = 0;
  for (let at = 0; at < instances; at++) {
    const { status, output, steps: done } = await describe(`i${at}`);
    expect(status).toBe("complete");
    for (let step = 0; step < steps; step++) {
      const shown = done.find(({ type, name }) => type === "step" && name === `s${step}-1`);
      const attempts = shown?.attempts ?? [];
      expect(
        attempts.filter(({ success }) => success === true),
        `i${at} s${step}`,
      ).toHaveLength(1);
      const tokens = ledgerRuns.get(`i${at}/${step}`) ?? [];
      expect(tokens.length, `runs of i${at} s${step}, seed ${seed}`).toBeLessThanOrEqual(attempts.length);
      expect(tokens).toContain((output as string[])[step]);
      interrupted += attempts.length - 1;
    }
  }
  process.stdout.write(
    `${instances} instances of ${steps} steps, killed ${JSON.stringify(killed)} (seed ${seed}): ${interrupted} attempts cut off, 0 finished steps run again\n`,
  );
});

test("instances that sleep cost no process, and one wakes it", { timeout: 1_800_000 }, async () => {
  const workers = 16;
  let at = 0;
  const make = async () => {
    while (at < sleepers) await create(`sleeper${at++}`, { sleepMs: 3_600_000 });
  };
  const began = performance.now();
  await Promise.all(Array.from({ length: workers }, make));
  const perSecond = Math.round((sleepers * 1000) / (performance.now() - began));
  await pollUntil({ ms: 10_000, everyMs: 50, what: "all to sleep" }, async () =>
    ((await counts())["waiting"] ?? 0) >= sleepers ? true : undefined,
  );
  const memory = Math.round((ownerMemory() ?? 0) / 1024 ** 2);
  const asleep = async () =>
    pollUntil({ ms: 60_000, everyMs: 100, what: "the process to sleep" }, () =>
      ownerMemory() === undefined ? true : undefined,
    );
  await asleep();
  const { result } = (await solum.api("GET", "/workflows/chain/instances?per_page=5&status=waiting")).json;
  expect(result).toHaveLength(5);
  const woken = await pollUntil({ ms: napMs + 30_000, everyMs: 200, what: "the one that wakes" }, async () => {
    if (Date.now() < wakesAt + 1000) return undefined;
    const { output } = await describe("wakes");
    return typeof output === "number" ? output : undefined;
  });
  process.stdout.write(
    `${sleepers} sleeping instances: ${perSecond} made a second, ${memory} MiB when made, no process while they sleep; one woke ${woken - wakesAt} ms late\n`,
  );
});

function ownerMemory(): number | undefined {
  const owner = findChildren(solum.runtime).find(({ mark }) => mark.name.startsWith("owner/"));
  return owner && readMemory(owner.facts.pid)?.pssBytes;
}
