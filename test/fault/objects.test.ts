import { readlinkSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil, sleep } from "#core/deadline.ts";
import { giveAddress, uploadWorker } from "../support/direct-upload.ts";
import { callObject, objectsMetadata, objectsRelease, ownerProcesses } from "../support/objects-worker.ts";
import { Solum } from "../support/start-solum.ts";

/**
 * `kill -9` of the owner, of the supervisor and of both while increments are under way. The ledger is kept here, in a process
 * that is never killed. OBJECT_KILLS says how many rounds there are.
 */
const rounds = Number(process.env["OBJECT_KILLS"] ?? 6);
const objects = ["a", "b", "c", "d"];

let solum: Solum;
/** The same for every supervisor of these folders. */
let runtime: string;
beforeAll(async () => {
  solum = new Solum();
  await solum.start();
  runtime = solum.runtime;
  await uploadWorker(solum, "objects", objectsRelease("one"), objectsMetadata);
  await giveAddress(solum, "objects");
}, 60_000);
afterAll(() => solum[Symbol.asyncDispose]());

test(
  "no acknowledged increment is lost, and never have two processes the same objects",
  async () => {
    const stop = new AbortController();
    const ledgers = new Map(objects.map((name) => [name, new Ledger()]));
    const writers = [...ledgers].map(async ([name, ledger]) => write(name, ledger, stop.signal));
    const watching = mostOwnersAtOnce(stop.signal);
    for (let round = 0; round < rounds; round++) {
      await sleep(200 + Math.random() * 400);
      if (round % 3 !== 1) killOwner();
      if (round % 3 === 0) continue;
      await solum.killSupervisor();
      // The owner is killed again while nobody looks after it.
      if (round % 2 === 0) killOwner();
      await solum.up();
    }
    await pollUntil({ ms: 20_000, everyMs: 50, what: "an answer after the last kill" }, async () => {
      const answer = await callObject(solum, { name: "a", method: "read" });
      return answer.result === undefined ? undefined : true;
    });
    stop.abort();
    await Promise.all(writers);
    for (const [name, { acknowledged, tried }] of ledgers) {
      const { result = -1 } = await callObject(solum, { name, method: "read" });
      // Each acknowledgement told a value that no other one told.
      expect(new Set(acknowledged).size).toBe(acknowledged.length);
      expect(result).toBeGreaterThanOrEqual(Math.max(0, ...acknowledged));
      expect(result).toBeGreaterThanOrEqual(acknowledged.length);
      expect(result).toBeLessThanOrEqual(tried);
    }
    const all = [...ledgers.values()].reduce((sum, { acknowledged }) => sum + acknowledged.length, 0);
    expect(all).toBeGreaterThan(0);
    process.stdout.write(`${rounds} rounds: ${all} increments acknowledged, 0 lost\n`);
    expect(await watching).toBe(1);
  },
  60_000 + rounds * 5000,
);

class Ledger {
  readonly acknowledged: number[] = [];
  tried = 0;
}

async function write(name: string, ledger: Ledger, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    ledger.tried++;
    const answer = await callObject(solum, { name, method: "increment" }).catch((): { result?: number } => ({}));
    if (answer.result !== undefined) ledger.acknowledged.push(answer.result);
    await sleep(2);
  }
}

/** The most processes that ran with the objects at one time. One that waits for the lock is not workerd yet. */
async function mostOwnersAtOnce(signal: AbortSignal): Promise<number> {
  let most = 0;
  while (!signal.aborted) {
    most = Math.max(most, ownerProcesses(runtime).filter(({ facts }) => runsWorkerd(facts.pid)).length);
    await sleep(20);
  }
  return most;
}

function runsWorkerd(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/exe`).endsWith("/workerd");
  } catch {
    return false;
  }
}

function killOwner(): void {
  for (const { facts } of ownerProcesses(runtime)) if (runsWorkerd(facts.pid)) process.kill(facts.pid, "SIGKILL");
}
