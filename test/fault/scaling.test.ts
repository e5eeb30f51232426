import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { giveAddress, uploadWorker } from "../support/direct-upload.ts";
import { Solum } from "../support/start-solum.ts";
import { SteadyLoad } from "../support/steady-load.ts";

/** A version gets a second process while one is not enough, and goes on with whatever happens to either. */
let solum: Solum;
let load: SteadyLoad;
beforeAll(async () => {
  solum = await Solum.start("--fronts-max", "2");
  const source = `export default { fetch() {
    const end = Date.now() + 40;
    while (Date.now() < end);
    return new Response("worked");
  } };`;
  await uploadWorker(solum, "busy", source);
  await giveAddress(solum, "busy");
  load = new SteadyLoad(solum, "busy.localhost", { perSecond: 22, expected: "worked" });
});
afterAll(() => solum[Symbol.asyncDispose]());

test("a busy version gets a second process", async () => {
  expect(await serving()).toHaveLength(1);
  load.start();
  await untilServing(2);
});

test("one of them dies: the other answers, and it is replaced", async () => {
  const [first] = await serving();
  process.kill(first ?? 0, "SIGKILL");
  await pollUntil({ ms: 30_000, everyMs: 20, what: "the replacement" }, async () => {
    const now = await serving();
    return now.length === 2 && !now.includes(first ?? 0) ? true : undefined;
  });
});

test("the next supervisor takes over both", async () => {
  const before = await serving();
  await solum.killSupervisor();
  await solum.up();
  expect(new Set(await serving())).toEqual(new Set(before));
});

test("a new version takes over from both, and they leave", async () => {
  const before = await serving();
  await uploadWorker(solum, "busy", `export default { fetch: () => new Response("worked") };`);
  await pollUntil({ ms: 30_000, everyMs: 50, what: "their end" }, async () => {
    const { fronts } = await solum.status();
    return fronts.length === 1 && !before.includes(fronts[0]?.pid ?? 0) ? true : undefined;
  });
});

test("no request failed in all that time, and what was used is counted", async () => {
  await load.stop();
  const { requests, failures } = await load.measure(0);
  expect({ failures, enough: requests > 20 }).toEqual({ failures: 0, enough: true });
  const { versions } = await solum.status();
  expect(versions.find(({ scriptName }) => scriptName === "busy")?.memoryBytes).toBeGreaterThan(1e6);
});

test("a second process leaves when one is enough again", async () => {
  const source = `export default { fetch() {
    const end = Date.now() + 40;
    while (Date.now() < end);
    return new Response("worked");
  } };`;
  await uploadWorker(solum, "busy", source);
  const again = new SteadyLoad(solum, "busy.localhost", { perSecond: 22, expected: "worked" });
  again.start();
  await untilServing(2);
  await again.stop();
  await untilServing(1);
  expect((await again.measure(0)).failures).toBe(0);
  const { versions, fronts } = await solum.status();
  const busy = versions.find(({ scriptName }) => scriptName === "busy");
  // The process that left is counted too.
  expect(busy?.cpuMs).toBeGreaterThan(fronts.find(({ scriptName }) => scriptName === "busy")?.cpuMs ?? 0);
});

test("one of two freezes: it alone is ended, and the other answers meanwhile", async () => {
  const source = `export default { fetch(request) {
    if (new URL(request.url).pathname === "/freeze") for (;;);
    const end = Date.now() + 40;
    while (Date.now() < end);
    return new Response("worked");
  } };`;
  await uploadWorker(solum, "busy", source);
  const meanwhile = new SteadyLoad(solum, "busy.localhost", { perSecond: 22, expected: "worked" });
  meanwhile.start();
  await untilServing(2);
  const before = await serving();
  await meanwhile.measure(0);
  const { status, text } = await solum.request("busy.localhost", "/freeze");
  expect([status, text]).toEqual([503, expect.stringContaining("1102")]);
  const { requests, failures } = await meanwhile.measure(0);
  process.stdout.write(`  one of two froze: ${requests} requests meanwhile, ${failures} failed\n`);
  // Those that it had taken end with it.
  expect(requests - failures).toBeGreaterThan(failures);
  await pollUntil({ ms: 30_000, everyMs: 20, what: "the replacement" }, async () => {
    const stayed = (await serving()).filter((pid) => before.includes(pid));
    return stayed.length === 1 && (await serving()).length === 2 ? true : undefined;
  });
  await meanwhile.stop();
});

/** Pids of the processes that take requests. */
async function serving(): Promise<number[]> {
  const { fronts } = await solum.status();
  return fronts.flatMap(({ state, pid }) => (state === "ready" && pid !== undefined ? [pid] : []));
}

async function untilServing(count: number): Promise<void> {
  await pollUntil({ ms: 60_000, everyMs: 50, what: `${count} processes` }, async () =>
    (await serving()).length === count ? true : undefined,
  );
}
