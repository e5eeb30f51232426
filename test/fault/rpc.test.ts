import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { limits } from "#ingress/limits.ts";
import { findChildren } from "#runtime/proc.ts";
import { giveAddress, uploadWorker } from "../support/direct-upload.ts";
import { Solum } from "../support/start-solum.ts";

/**
 * RPC between Workers while the callee is deployed, killed and asleep. `RPC_CALLS` and `RPC_DEPLOYS` say how much: a little here,
 * 10,000 calls across ten deploys in a full run.
 */
const calls = Number(process.env["RPC_CALLS"] ?? 1500);
const deploys = Number(process.env["RPC_DEPLOYS"] ?? 3);
const callers = 8;
const callsPerRequest = 25;

let solum: Solum;

beforeAll(async () => {
  solum = await Solum.start("--idle-ms", "4000", "--drain-ms", "5000");
  await deployCallee(0);
  const bindings = [
    { type: "service", name: "CALLEE", service: "callee" },
    { type: "service", name: "PROPER", service: "callee", entrypoint: "Proper", props: { who: "caller" } },
  ];
  await uploadWorker(solum, "caller", caller, { bindings, compatibility_date: "2026-11-01" });
  await giveAddress(solum, "caller");
}, 60_000);
afterAll(() => solum[Symbol.asyncDispose]());

test("no call fails while the callee is deployed again and again, and each is answered by one version", async () => {
  let asked = 0;
  let releases = new Set<number>();
  const failures: string[] = [];
  const call = async () => {
    while (asked < calls || releases.size <= deploys) {
      asked += callsPerRequest;
      const { status, text } = await solum.request("caller.localhost", `/?calls=${callsPerRequest}`);
      if (status === 200) releases = new Set([...releases, ...(JSON.parse(text) as number[])]);
      else failures.push(text);
      expect(asked, "the new version never answered").toBeLessThan(calls * 20);
    }
  };
  const deploy = async () => {
    for (let release = 1; release <= deploys; release++) {
      await deployCallee(release);
      // What is asked for after a deploy is answered by it.
      const { text } = await solum.request("caller.localhost", "/?calls=1");
      expect(JSON.parse(text)).toEqual([release]);
    }
  };
  const began = performance.now();
  await Promise.all([deploy(), ...Array.from({ length: callers }, call)]);
  const seconds = (performance.now() - began) / 1000;
  process.stdout.write(`  ${asked * 4} calls across ${deploys} deploys in ${seconds.toFixed(1)} s\n`);
  expect(failures).toEqual([]);
}, 600_000);

test("a process of the callee's that is killed costs only the calls that were on it", async () => {
  const waiting = solum.request("caller.localhost", "/wait");
  await pollUntil({ ms: 10_000, everyMs: 20, what: "the call" }, async () =>
    (await solum.status()).fronts.length > 1 ? true : undefined,
  );
  for (const { facts, mark } of findChildren(solum.runtime)) {
    const front = (await solum.status()).fronts.find(({ pid }) => pid === facts.pid);
    if (mark.name.startsWith("front/") && front?.scriptName === "callee") process.kill(facts.pid, "SIGKILL");
  }
  const { status, text } = await waiting;
  expect({ status, text }).toEqual({ status: 500, text: "Error: Network connection lost." });
  const next = await solum.request("caller.localhost", "/?calls=5");
  expect(next.status, next.text).toBe(200);
});

test("a callee that sleeps is started, and what is called waits for it", async () => {
  await pollUntil({ ms: 60_000, everyMs: 50, what: "falling asleep" }, async () =>
    (await solum.status()).fronts.length === 0 ? true : undefined,
  );
  const { status, text } = await solum.request("caller.localhost", "/?calls=3");
  expect(status, text).toBe(200);
});

test("calls that are larger than what may wait for a process arrive whole", async () => {
  await pollUntil({ ms: 60_000, everyMs: 50, what: "falling asleep" }, async () =>
    (await solum.status()).fronts.length === 0 ? true : undefined,
  );
  expect(large.count * large.bytes).toBeGreaterThan(limits.rpcHeldBytes);
  const { status, text } = await solum.request("caller.localhost", "/large");
  expect({ status, text }).toEqual({ status: 200, text: String(large.count * large.bytes) });
  expect((await solum.request("caller.localhost", "/?calls=3")).status).toBe(200);
});

const large = { count: 5, bytes: 4 * 1024 * 1024 };

const caller = `
  export default { async fetch(request, { CALLEE, PROPER }) {
    const { pathname, searchParams } = new URL(request.url);
    try {
      if (pathname === "/wait") { await CALLEE.wait(60000); return new Response("waited"); }
      if (pathname === "/large") {
        const text = "x".repeat(${large.bytes});
        const sizes = await Promise.all(Array.from({ length: ${large.count} }, () => CALLEE.sizeOf(text)));
        return new Response(String(sizes.reduce((sum, size) => sum + size, 0)));
      }
      const releases = new Set();
      for (let i = 0; i < Number(searchParams.get("calls")); i++) {
        releases.add(await CALLEE.release());
        if (await CALLEE.counter(i).next() !== i + 1) throw new Error("a wrong count");
        if (await CALLEE.apply((value) => value * 2, i) !== i * 2) throw new Error("a wrong product");
        if (await PROPER.who() !== "caller") throw new Error("wrong props");
      }
      return Response.json([...releases]);
    } catch (error) { return new Response(String(error), { status: 500 }); }
  } };`;

function callee(release: number): string {
  return `
  import { RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
  class Counter extends RpcTarget { constructor(v) { super(); this.v = v; } next() { return ++this.v; } }
  export default class extends WorkerEntrypoint {
    release() { return ${release}; }
    counter(value) { return new Counter(value); }
    async apply(callback, value) { return await callback(value); }
    sizeOf(text) { return text.length; }
    wait(ms) { return scheduler.wait(ms); }
  }
  export class Proper extends WorkerEntrypoint { who() { return this.ctx.props.who; } }`;
}

async function deployCallee(release: number): Promise<void> {
  await uploadWorker(solum, "callee", callee(release), { compatibility_date: "2026-11-01" });
}
