import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { findChildren } from "#runtime/proc.ts";
import { uploadWorker } from "../support/direct-upload.ts";
import { Solum } from "../support/start-solum.ts";

/**
 * Workers without a process that are woken by what they are there for: by a message, by a cron, by a Workflow that has slept.
 * `WAKES` says how many: some here, 300 in a full run. Workflows sleep for more than a minute, so they are woken there only.
 */
const workers = Number(process.env["WAKES"] ?? 6);
const withWorkflows = workers >= 30;
const kinds = withWorkflows ? (["queue", "cron", "workflow"] as const) : (["queue", "cron"] as const);
/** Between two that are woken. */
const everyMs = 250;

let solum: Solum;
let seen = "";
const queues = new Map<number, string>();

const source = `
import { WorkflowEntrypoint } from "cloudflare:workers";
export class Nap extends WorkflowEntrypoint {
  async run({ payload: { until, i } }, step) {
    await step.sleepUntil("nap", new Date(until));
    await this.env.SEEN.put("late/" + i, String(Date.now() - until));
  }
}
export default {
  fetch: () => new Response("up"),
  async queue(batch, env) {
    for (const { body: { at, i } } of batch.messages) await env.SEEN.put("late/" + i, String(Date.now() - at));
  },
  async scheduled({ cron, scheduledTime }, env) {
    await env.SEEN.put("late/" + cron, String(Date.now() - scheduledTime));
  },
};`;

const nameOf = (i: number) => `sleeper-${i}`;
const kindOf = (i: number) => kinds[i % kinds.length];

beforeAll(async () => {
  solum = await Solum.start("--idle-ms", "1000", "--drain-ms", "1000");
  seen = ((await solum.api("POST", "/storage/kv/namespaces", { title: "seen" })).json.result as { id: string }).id;
  for (let i = 0; i < workers; i++) {
    const nap = { name: "NAP", type: "workflow", workflow_name: `nap-${i}`, class_name: "Nap" };
    await uploadWorker(solum, nameOf(i), source, {
      compatibility_date: "2026-11-01",
      bindings: [
        { name: "SEEN", type: "kv_namespace", namespace_id: seen },
        ...(kindOf(i) === "workflow" ? [nap] : []),
      ],
    });
    if (kindOf(i) !== "queue") continue;
    const { json } = await solum.api("POST", "/queues", { queue_name: `to-${i}` });
    const id = (json.result as { queue_id: string }).queue_id;
    const settings = { batch_size: 1, max_wait_time_ms: 0 };
    await solum.api("POST", `/queues/${id}/consumers`, { type: "worker", script_name: nameOf(i), settings });
    queues.set(i, id);
  }
}, 1_800_000);
afterAll(() => solum[Symbol.asyncDispose]());

test("Workers that sleep are woken in time", { timeout: 1_800_000 }, async () => {
  const running = () => findChildren(solum.runtime).filter(({ mark }) => /^(front|owner)\//.test(mark.name)).length;
  const napsFrom = Date.now() + 65_000;
  const naps = Array.from({ length: workers }, (_, i) => i).filter((i) => kindOf(i) === "workflow");
  for (const [at, i] of naps.entries())
    await solum.api("POST", `/workflows/nap-${i}/instances`, { params: { until: napsFrom + at * everyMs, i } });
  const asleep = { ms: 120_000, everyMs: 100, what: "all to sleep" };
  await pollUntil(asleep, () => (running() === 0 ? true : undefined));
  for (let i = 0; i < workers; i++) {
    const at = Date.now();
    if (kindOf(i) === "queue") await solum.api("POST", `/queues/${queues.get(i)}/messages`, { body: { at, i } });
    else if (kindOf(i) === "cron")
      await solum.api("POST", `/workers/scripts/${nameOf(i)}/schedules/run`, { cron: String(i), scheduled_time: at });
    await sleep(everyMs);
  }
  const lateness = await pollUntil({ ms: 300_000, everyMs: 200, what: "all of them" }, async () => {
    const found = await latenesses();
    return found.length === workers ? found : undefined;
  });
  const sorted = lateness.toSorted((a, b) => a - b);
  const quantile = (q: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0;
  process.stdout.write(
    `${workers} Workers without a process, woken by ${kinds.join(", ")}: p50 ${quantile(0.5)} ms, p99 ${quantile(0.99)} ms late\n`,
  );
  // Not a measurement: what is late by so much was not woken by what it waits for.
  expect(quantile(1)).toBeLessThan(10_000);
});

async function latenesses(): Promise<number[]> {
  const { json } = await solum.api("GET", `/storage/kv/namespaces/${seen}/keys?limit=1000&prefix=late/`);
  const names = (json.result as { name: string }[]).map(({ name }) => name);
  const found: number[] = [];
  for (let at = 0; at < names.length; at += 100) {
    const keys = names.slice(at, at + 100);
    const values = await solum.api("POST", `/storage/kv/namespaces/${seen}/bulk/get`, { keys });
    found.push(...Object.values((values.json.result as { values: Record<string, string> }).values).map(Number));
  }
  return found;
}
