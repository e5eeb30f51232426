import { afterAll, beforeAll, expect, test } from "vitest";
import { setTimeout as sleep } from "node:timers/promises";
import { pollUntil } from "#core/deadline.ts";
import { runtimeLayout } from "#core/layout.ts";
import { askSocket } from "#runtime/probe.ts";
import { findChildren, isAlive } from "#runtime/proc.ts";
import { deployVersion, giveAddress, listVersions, uploadVersion, uploadWorker } from "../support/direct-upload.ts";
import { Solum } from "../support/start-solum.ts";
import { Traffic, trafficSource, type TrafficOptions } from "../support/traffic.ts";

/**
 * Deploys and rollbacks alternate under steady load (guarantee G6, faults F32 and F34): no request fails, no answer is mixed,
 * streams and WebSockets end when they want to, and work after answers is done. `DEPLOYS` of 50 and more is the full run: 200
 * requests a second with streams of 5 to 20 s; a short one here.
 */
const deploys = Number(process.env["DEPLOYS"] ?? 8);
const full = deploys >= 50;
const drainMs = full ? 30_000 : 10_000;
const traffic: TrafficOptions = {
  host: "deploys.localhost",
  perSecond: full ? 200 : 60,
  streamEvery: 5,
  streamMs: full ? [5000, 20_000] : [500, 3000],
  webSockets: full ? 20 : 8,
  webSocketMs: drainMs * 0.8,
  lateEvery: 10,
};

let solum: Solum;
let bindings: object[];
beforeAll(async () => {
  solum = await Solum.start("--drain-ms", String(drainMs));
  const { json } = await solum.api("POST", "/storage/kv/namespaces", { title: "late" });
  bindings = [{ type: "kv_namespace", name: "KV", namespace_id: (json.result as { id: string }).id }];
});
afterAll(() => solum[Symbol.asyncDispose]());

const deploy = (version: string) => uploadWorker(solum, "deploys", trafficSource(version), { bindings });
const live = async () => String((await solum.request(traffic.host)).headers["x-version"]);

test("deploys and rollbacks under load fail no request and mix no answer", async () => {
  await deploy("v0");
  await giveAddress(solum, "deploys");
  const load = new Traffic(solum, traffic);
  load.start();
  const waits: number[] = [];
  let current = "v0";
  for (let round = 1; round <= deploys; round++) {
    await sleep(full ? 800 : 300);
    const before = current;
    const began = performance.now();
    if (round % 2 === 1) {
      current = `v${round}`;
      await deploy(current);
    } else {
      const [, previous] = await listVersions(solum, "deploys");
      current = round === 2 ? "v0" : `v${round - 3}`;
      await deployVersion(solum, "deploys", previous?.id ?? "");
    }
    waits.push(performance.now() - began);
    // What is answered is live: the first request after it meets the new version.
    expect.soft(await live(), `after ${before}`).toBe(current);
  }
  await load.stop();
  const sorted = waits.toSorted((a, b) => a - b);
  const at = (share: number) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
  process.stdout.write(
    `  ${deploys} deploys and rollbacks, live after p50 ${at(0.5)} ms, p99 ${at(0.99)} ms; ${JSON.stringify(load.counts)}\n`,
  );
  expect(load.wrong).toEqual([]);
  expect(load.counts.streams).toBeGreaterThan(10);
  expect(await missing(load.lateKeys)).toEqual([]);
}, 1_200_000);

test("deploys at the same time happen one after the other, and a rollback while one starts fails nothing", async () => {
  const load = new Traffic(solum, traffic);
  load.start();
  for (let round = 0; round < (full ? 10 : 2); round++) {
    const [newest] = await listVersions(solum, "deploys");
    await Promise.all([
      deploy(`a${round}`),
      deploy(`b${round}`),
      deployVersion(solum, "deploys", newest?.id ?? ""),
      deploy(`c${round}`),
    ]);
    const { json } = await solum.api("GET", "/workers/scripts/deploys/deployments");
    const [current] = (json.result as { deployments: { versions: { version_id: string }[] }[] }).deployments;
    const target = (await solum.status()).fronts.find(
      ({ versionId }) => versionId === current?.versions[0]?.version_id,
    );
    expect(target?.state).toBe("ready");
  }
  await load.stop();
  expect(load.wrong).toEqual([]);
  expect(await missing(load.lateKeys)).toEqual([]);
});

test("the supervisor dies while an old version finishes: streams end with their last line", async () => {
  await deploy("before");
  const streams = Array.from({ length: 5 }, () => solum.request(traffic.host, "/stream?ms=5000"));
  await pollUntil({ ms: 10_000, everyMs: 20, what: "the streams" }, async () =>
    (await open()) >= streams.length ? true : undefined,
  );
  await deploy("after");
  await solum.killSupervisor();
  await solum.up();
  expect(await live()).toBe("after");
  for (const { text } of await Promise.all(streams)) expect(text).toMatch(/\nend \d+ before\n$/);
  await pollUntil({ ms: 20_000, everyMs: 50, what: "the end of the old version" }, async () =>
    (await solum.status()).fronts.every(({ state }) => state !== "leaving") ? true : undefined,
  );
});

test("a version whose process died before its deployment is started anew, while the old one serves", async () => {
  await deploy("healthy");
  for (let round = 0; round < 3; round++) {
    const id = await uploadVersion(solum, "deploys", trafficSource(`reborn${round}`), { bindings });
    const trial = findChildren(solum.runtime).find(({ mark }) => mark.name.includes(`/${id}/`));
    const deployed = deployVersion(solum, "deploys", id);
    // At any point of the deployment.
    await sleep(round * 10);
    if (trial && isAlive(trial.facts)) process.kill(trial.facts.pid, "SIGKILL");
    await deployed;
    await pollUntil({ ms: 10_000, everyMs: 20, what: "the new version" }, async () =>
      (await live()) === `reborn${round}` ? true : undefined,
    );
  }
});

test("of too many versions that finish at the same time the oldest is cut off", async () => {
  await using small = await Solum.start("--draining-max", "2", "--drain-ms", "20000");
  const streams: Promise<string>[] = [];
  for (const version of ["first", "second", "third", "last"]) {
    await uploadWorker(small, "deploys", trafficSource(version));
    if (version === "first") await giveAddress(small, "deploys");
    if (version === "last") break;
    const ended = small.request(traffic.host, "/stream?ms=6000").then(
      ({ text }) => text.trimEnd().split("\n").at(-1) ?? "",
      (error: unknown) => `cut off: ${String(error)}`,
    );
    streams.push(ended);
    await pollUntil({ ms: 10_000, everyMs: 20, what: "the stream" }, async () =>
      (await open(small)) >= streams.length ? true : undefined,
    );
  }
  const ends = await Promise.all(streams);
  expect(ends[0]).toMatch(/^cut off/);
  expect(ends[1]).toMatch(/^end \d+ second$/);
  expect(ends[2]).toMatch(/^end \d+ third$/);
});

/** Requests that the ingress counts on any Worker. */
async function open(of = solum): Promise<number> {
  const { body } = await askSocket(runtimeLayout(of.runtime).ingress(0), { path: "/open", ms: 5000 });
  return (JSON.parse(body) as { requests: number }).requests;
}

/** Keys that were to be written after answers and are not there. */
async function missing(keys: readonly string[]): Promise<string[]> {
  const [namespace] = (await solum.api("GET", "/storage/kv/namespaces")).json.result as { id: string }[];
  const gone: string[] = [];
  // The last of them is written 200 ms after its answer.
  const last = keys.at(-1);
  const has = async (key: string) =>
    (await solum.rawApi(`/storage/kv/namespaces/${namespace?.id}/values/${key}`)).status === 200;
  if (last !== undefined)
    await pollUntil(
      { ms: 10_000, everyMs: 50, what: "the last late write" },
      async () => (await has(last)) || undefined,
    );
  for (const key of keys) if (!(await has(key))) gone.push(key);
  return gone;
}
