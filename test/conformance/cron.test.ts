import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { Solum } from "../support/start-solum.ts";

/** Cron triggers, set by the unmodified wrangler (wrangler-api §3.7), fired by the clock, by hand and by the API. */
let solum: Solum;
beforeAll(async () => {
  solum = new Solum();
  solum.writeConfig({ idleMs: 1000 });
  await solum.start();
});
afterAll(() => solum[Symbol.asyncDispose]());

/** Remembers in KV what it was called with. */
const source = `export default {
  async fetch(request, env) { return Response.json(await env.KV.get("calls", "json") ?? []); },
  async scheduled(controller, env, ctx) {
    if (controller.cron === "fail") throw new Error("broke");
    if (controller.cron === "fail once") { controller.noRetry(); throw new Error("broke, and that is it"); }
    const calls = await env.KV.get("calls", "json") ?? [];
    ctx.waitUntil(env.KV.put("calls", JSON.stringify([...calls, [controller.cron, controller.scheduledTime]])));
  },
};`;

function project(crons: string[] | undefined): string {
  const folder = solum.project("hello");
  writeFileSync(join(folder, "index.js"), source);
  const config = {
    name: "clock",
    main: "index.js",
    compatibility_date: "2026-11-01",
    kv_namespaces: [{ binding: "KV" }],
    ...(crons ? { triggers: { crons } } : {}),
  };
  writeFileSync(join(folder, "wrangler.jsonc"), JSON.stringify(config));
  return folder;
}

const path = "/workers/scripts/clock/schedules";
const deploy = async (crons: string[] | undefined, ...args: string[]) =>
  solum.wrangler(project(crons), args.length > 0 ? args : ["deploy"]);
type Shown = { schedules: { cron: string; created_on: string }[] };
const schedules = async () => ((await solum.api("GET", path)).json.result as Shown).schedules.map(({ cron }) => cron);
type Run = { cron: string; scheduled_time: number; outcome: string | null; attempts: number };
const runs = async () => (await solum.api("GET", `${path}/runs`)).json.result as Run[];
const calls = async () => JSON.parse((await solum.request("clock.localhost", "/")).text) as [string, number][];

test("wrangler deploy and triggers deploy set them; an empty list takes them away", async () => {
  const first = await deploy(["*/30 * * * *", "0 0 L * FRI#1"]);
  expect(first.code, first.output).toBe(0);
  expect(first.output).toContain("schedule: */30 * * * *");
  expect(await schedules()).toEqual(["*/30 * * * *", "0 0 L * FRI#1"]);
  // Not sent when the configuration says nothing of triggers.
  await deploy(undefined);
  expect(await schedules()).toHaveLength(2);
  const second = await deploy(["*/30 * * * *"], "triggers", "deploy");
  expect(second.code, second.output).toBe(0);
  expect(await schedules()).toEqual(["*/30 * * * *"]);
  await deploy([]);
  expect(await schedules()).toEqual([]);
});

test("what is no cron expression is refused, and changes nothing", async () => {
  await solum.api("PUT", path, [{ cron: "0 1 * * *" }]);
  const refused = await deploy(["0 2 * * *", "0 22 * * 0"]);
  expect(refused.code).not.toBe(0);
  expect(refused.output).toMatch(/invalid cron string.*10100/s);
  const nested = await solum.api("PUT", path, [{ cron: { cron: "0 5 * * *" } }]);
  expect(nested.json.errors).toEqual([
    { code: 10026, message: "Could not parse request body. Please ensure the request is valid and try again." },
  ]);
  const many = Array.from({ length: 251 }, (_, index) => ({ cron: `${index % 60} ${Math.floor(index / 60)} * * *` }));
  expect((await solum.api("PUT", path, many)).json.errors?.[0]).toMatchObject({ code: 10072 });
  expect((await solum.api("GET", "/workers/scripts/nobody/schedules")).json.errors?.[0]).toMatchObject({ code: 10007 });
  expect(await schedules()).toEqual(["0 1 * * *"]);
});

test("one is fired by hand, in development as in miniflare, and by the API", async () => {
  const fire = async (query: string, headers = {}) =>
    solum.request("clock.localhost", `/cdn-cgi/handler/scheduled${query}`, { headers });
  expect(await fire("?cron=by+hand&time=1745856238000")).toMatchObject({ status: 200, text: "ok" });
  expect(JSON.parse((await fire("?cron=by+hand&format=json")).text)).toEqual({ outcome: "ok", noRetry: false });
  expect(await fire("?cron=fail")).toMatchObject({ status: 500, text: "exception" });
  expect((await fire("", { "sec-fetch-site": "cross-site" })).status).toBe(404);
  const run = async (body: object) => (await solum.api("POST", `${path}/run`, body)).json.result;
  expect(await run({ cron: "by api", scheduled_time: 5 })).toEqual({ outcome: "ok", no_retry: false });
  expect(await run({ cron: "fail once" })).toEqual({ outcome: "exception", no_retry: true });
  expect(await calls()).toEqual([
    ["by hand", 1745856238000],
    ["by hand", expect.any(Number)],
    ["by api", 5],
  ]);
  expect(await runs()).toMatchObject([
    { cron: "fail once", outcome: "exception", attempts: 1 },
    { cron: "by api", scheduled_time: 5, outcome: "ok", attempts: 1 },
  ]);
});

test("the clock starts a Worker that sleeps, once for each slot, whatever is killed", async () => {
  await solum.api("PUT", path, [{ cron: "* * * * *" }, { cron: "0 1 * * *" }]);
  const before = await calls();
  const asleep = async () => (await solum.status()).versions.every((version) => version.asleep);
  await pollUntil({ ms: 20_000, everyMs: 100, what: "sleep" }, async () => (await asleep()) || undefined);
  // The one that keeps the schedules comes back in time, and knows what has run.
  await killControl();
  const since = await pollUntil({ ms: 70_000, everyMs: 100, what: "the next minute" }, async () => {
    // It is just coming back.
    const [run] = await runs().catch(() => []);
    return run?.cron === "* * * * *" && run.outcome !== null ? run : undefined;
  });
  expect(since).toMatchObject({ outcome: "ok", attempts: 1 });
  expect(since.scheduled_time % 60_000).toBe(0);
  await killControl();
  await pollUntil({ ms: 10_000, everyMs: 50, what: "control" }, async () =>
    schedules().then(
      () => true,
      () => undefined,
    ),
  );
  expect((await calls()).slice(before.length)).toEqual([["* * * * *", since.scheduled_time]]);
});

async function killControl(): Promise<void> {
  const { pid } = (await solum.status()).services.find(({ name }) => name === "control") ?? {};
  if (pid === undefined) throw new Error("the process does not run");
  process.kill(pid, "SIGKILL");
}
