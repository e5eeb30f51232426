import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { findChildren } from "#runtime/proc.ts";
import { giveAddress, uploadVersion, uploadWorker } from "../support/direct-upload.ts";
import { Solum } from "../support/start-solum.ts";

/**
 * Workers that nobody uses have no process, and the first request starts one. `SLEEPERS` says how many there are: a few here,
 * 300 in a full run; of them `TOGETHER` are woken at once.
 */
const sleepers = Number(process.env["SLEEPERS"] ?? 12);
const together = Math.min(sleepers, Number(process.env["TOGETHER"] ?? 50));
/** Long enough for all of the first test's to be awake together on a machine with other work. */
const idleMs = 3000;

let solum: Solum;
const names = Array.from({ length: sleepers }, (_, index) => `sleeper-${index}`);

beforeAll(async () => {
  solum = await Solum.start("--idle-ms", String(idleMs), "--drain-ms", "5000");
  const began = performance.now();
  const queue = [...names];
  const deploy = async () => {
    for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
      await uploadWorker(solum, name, bundle(name));
      await giveAddress(solum, name);
    }
  };
  await Promise.all([deploy(), deploy()]);
  const perDeploy = (performance.now() - began) / sleepers;
  process.stdout.write(`  ${sleepers} Workers of ${bundle("x").length} bytes, ${Math.round(perDeploy)} ms a deploy\n`);
}, 1_200_000);
afterAll(() => solum[Symbol.asyncDispose]());

test("a fresh deploy leaves the version warm", async () => {
  await uploadWorker(solum, "fresh", `export default { fetch: () => new Response("warm") };`);
  expect(fronts().length).toBeGreaterThan(0);
});

test("all that nobody uses have no process, and the first request of each is answered", async () => {
  await untilAsleep();
  const waits: number[] = [];
  for (const name of names) waits.push(await firstAnswer(name));
  report("one at a time", waits);
  await untilAsleep();
});

test("many that are asked at once are all answered", async () => {
  await untilAsleep();
  const waits = await Promise.all(names.slice(0, together).map((name) => firstAnswer(name)));
  report(`${together} at once`, waits);
  await untilAsleep();
});

test("after a restart of the platform they sleep until somebody asks", async () => {
  await solum.stop();
  const began = performance.now();
  await solum.up();
  process.stdout.write(`  solum up with ${sleepers} Workers: ${Math.round(performance.now() - began)} ms\n`);
  expect(fronts()).toEqual([]);
  await firstAnswer(names[0] ?? "");
});

test("a service binding wakes the Worker that it leads to", async () => {
  const bindings = [{ type: "service", name: "CALLEE", service: "fresh" }];
  const source = `export default { fetch: (request, env) => env.CALLEE.fetch(request) };`;
  await uploadWorker(solum, "caller", source, { bindings });
  await giveAddress(solum, "caller");
  await untilAsleep();
  expect((await solum.request("caller.localhost")).text).toBe("warm");
});

test("a version that is not deployed is started by the first request to its own address", async () => {
  await giveAddress(solum, "fresh");
  const id = await uploadVersion(solum, "fresh", `export default { fetch: () => new Response("only previewed") };`);
  const preview = `${id.slice(0, 8)}-fresh.localhost`;
  expect((await solum.request(preview)).text).toBe("only previewed");
  expect((await solum.request("fresh.localhost")).text).toBe("warm");
  await untilAsleep();
  expect((await solum.request(preview)).text).toBe("only previewed");
  expect((await solum.request("00000000-fresh.localhost")).status).toBe(404);
});

test("work after an answer and an open stream keep a version awake", async () => {
  const source = `export default {
    fetch(request, env, ctx) {
      const { readable, writable } = new TransformStream();
      const writer = writable.getWriter();
      const end = async () => {
        await writer.write(new TextEncoder().encode("begun "));
        await scheduler.wait(${idleMs * 2});
        await writer.write(new TextEncoder().encode("ended"));
        await writer.close();
      };
      if (new URL(request.url).pathname === "/stream") { ctx.waitUntil(end()); return new Response(readable); }
      ctx.waitUntil(scheduler.wait(${idleMs * 2}));
      return new Response("later");
    } };`;
  for (const name of ["streamer", "worker-later"]) {
    await uploadWorker(solum, name, source);
    await giveAddress(solum, name);
  }
  const stream = solum.request("streamer.localhost", "/stream");
  await solum.request("worker-later.localhost");
  const began = performance.now();
  const seen = new Map<string, number>();
  await pollUntil({ ms: 60_000, everyMs: 50, what: "falling asleep" }, async () => {
    for (const { scriptName } of (await solum.status()).fronts) seen.set(scriptName, performance.now() - began);
    return fronts().length === 0 ? true : undefined;
  });
  expect((await stream).text).toBe("begun ended");
  for (const name of ["streamer", "worker-later"]) expect(seen.get(name), name).toBeGreaterThan(idleMs * 1.8);
});

/** About a megabyte of functions, no two Workers' alike. */
function bundle(name: string): string {
  const functions = Array.from(
    { length: 5200 },
    (_, index) =>
      `function f${index}(value) { const list = [${index}, value, "${name}-${index}"]; if (value > ${index}) list.push({ a: value * ${index}, b: list.length, text: \`of \${value} and ${index}\` }); return list; }`,
  );
  return `${functions.join("\n")}\nexport default { fetch: () => new Response(f7(3)[2]) };`;
}

async function firstAnswer(name: string): Promise<number> {
  const began = performance.now();
  const { status, text } = await solum.request(`${name}.localhost`);
  expect.soft({ status, text }).toEqual({ status: 200, text: `${name}-7` });
  return performance.now() - began;
}

function report(what: string, waits: readonly number[]): void {
  const sorted = waits.toSorted((a, b) => a - b);
  const at = (share: number) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
  process.stdout.write(`  first answers, ${what}: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, longest ${at(1)} ms\n`);
}

function fronts(): string[] {
  return findChildren(solum.runtime)
    .map(({ mark }) => mark.name)
    .filter((name) => name.startsWith("front/"));
}

async function untilAsleep(): Promise<void> {
  await pollUntil({ ms: 60_000, everyMs: 50, what: "falling asleep" }, () =>
    fronts().length === 0 ? true : undefined,
  );
}
