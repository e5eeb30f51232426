import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil, sleep } from "#core/deadline.ts";
import { isAlive } from "#runtime/proc.ts";
import { giveAddress, uploadWorker } from "../support/direct-upload.ts";
import { callObject, objectsMetadata, objectsRelease, ownerProcesses } from "../support/objects-worker.ts";
import { RawClient } from "../support/raw-client.ts";
import { clientFrame, openingRequest, serverMessages } from "../support/websocket-frames.ts";
import { Solum } from "../support/start-solum.ts";

/** Durable Objects in an owner process, seen from Workers that call them: what is asked is asked inside of a Worker. */
/** What was migrated stays so. */
const again = { bindings: objectsMetadata.bindings };
const idleMs = 1000;
let solum: Solum;
beforeAll(async () => {
  solum = new Solum();
  solum.writeConfig({ idleMs });
  await solum.start();
  await uploadWorker(solum, "objects", objectsRelease("one"), objectsMetadata);
  await giveAddress(solum, "objects");
}, 60_000);
afterAll(() => solum[Symbol.asyncDispose]());

const call = async (name: string, method: string, ...args: number[]) => callObject(solum, { name, method, args });

test("a Worker sees of its objects what it would see on Cloudflare", async () => {
  const { status, text } = await solum.request("objects.localhost", "/checks");
  expect(status, text).toBe(200);
  expect(JSON.parse(text)).toEqual({
    rpc: [1, 6],
    order: [1, 2, 3, 4],
    name: ["named", true, true],
    unique: [null, true],
    pipelining: 3,
    callback: 42,
    fail: ["RangeError", "broke", true, false],
    sql: [1, [1]],
    block: 0,
    forget: [0, 0],
    fetch: "POST /path body",
    other: 1,
    exports: 0,
    frontExports: [6, ["ROOM"]],
    badId: ["TypeError", "Invalid Durable Object ID: must be 64 hex digits", false, false],
    foreignId: ["TypeError", "Durable Object ID is not valid for this namespace.", false, false],
  });
});

test("a WebSocket reaches an object that hibernates, and keeps the owner awake", async () => {
  using client = await RawClient.to(solum.port);
  client.write(openingRequest(`objects.localhost:${solum.port}`, "/socket"));
  await client.until((received) => received.includes("\r\n\r\n"));
  const ask = async (text: string, count: number) => {
    client.write(clientFrame(text));
    const received = await client.until((all) => serverMessages(all).length >= count);
    return JSON.parse(serverMessages(received).at(-1) ?? "") as unknown;
  };
  expect(await ask("hello", 1)).toEqual(["hello", { joined: true }, 1]);
  const pid = ownerPid();
  await sleep(idleMs * 2);
  expect(await ask("again", 2)).toEqual(["again", { joined: true }, 1]);
  expect(ownerPid()).toBe(pid);
});

test("a deploy moves the objects to the new code; what they hold stays, and no call fails", async () => {
  expect(await call("deploys", "increment")).toEqual({ result: 1 });
  const stop = new AbortController();
  const answers: unknown[] = [];
  const callers = Array.from({ length: 4 }, async () => {
    while (!stop.signal.aborted) answers.push(await call("deploys", "increment"));
  });
  for (const release of ["two", "three"]) {
    await uploadWorker(solum, "objects", objectsRelease(release), again);
    expect(await call("deploys", "release")).toEqual({ result: release });
  }
  stop.abort();
  await Promise.all(callers);
  const failed = answers.filter((answer) => !("result" in (answer as object)));
  // One that had begun when the old code ended is told so; nothing else fails.
  for (const failure of failed)
    expect(failure).toEqual({
      error: ["Error", "Durable Object reset because its code was updated.", true, true],
    });
  const acknowledged = answers.length - failed.length;
  const { result } = (await call("deploys", "read")) as { result: number };
  expect(result).toBeGreaterThanOrEqual(acknowledged + 1);
  expect(result).toBeLessThanOrEqual(answers.length + 1);
});

test("a call that is under way at a deploy is told that the code was updated; one that comes meanwhile waits", async () => {
  const slow = call("slow", "slow", 10_000);
  await call("slow", "increment");
  await uploadWorker(solum, "objects", objectsRelease("four"), again);
  expect(await call("slow", "release")).toEqual({ result: "four" });
  expect(await slow).toEqual({ error: ["Error", "Durable Object reset because its code was updated.", true, true] });
});

test("another Worker calls the same objects, and only those that it binds", async () => {
  const binding = { ...objectsMetadata.bindings[0], script_name: "objects" };
  await uploadWorker(solum, "guest", objectsRelease("guest"), { bindings: [binding] });
  await giveAddress(solum, "guest");
  expect(await call("shared", "increment")).toEqual({ result: 1 });
  expect(await callObject(solum, { name: "shared", method: "increment", args: [5], worker: "guest" })).toEqual({
    result: 6,
  });
  expect(await callObject(solum, { name: "shared", method: "release", worker: "guest" })).toEqual({ result: "four" });
});

test("what was acknowledged survives kill -9 of the owner and of the supervisor", async () => {
  expect(await call("kills", "increment")).toEqual({ result: 1 });
  process.kill(ownerPid(), "SIGKILL");
  await pollUntil({ ms: 10_000, everyMs: 50, what: "an answer" }, async () => {
    const answer = (await call("kills", "read")) as { result?: number };
    return answer.result === 1 ? true : undefined;
  });
  const pid = ownerPid();
  await solum.killSupervisor();
  expect(await call("kills", "increment")).toEqual({ result: 2 });
  await solum.up();
  expect(await call("kills", "increment")).toEqual({ result: 3 });
  expect(ownerPid()).toBe(pid);
});

test("objects that nobody uses have no process; a call starts one, and so does an alarm, even after a restart", async () => {
  await call("alarms", "remind", 6000);
  await untilAsleep();
  await solum.killSupervisor();
  await solum.up();
  expect(owners()).toEqual([]);
  await pollUntil({ ms: 20_000, everyMs: 50, what: "the alarm's start" }, () => owners().length > 0 || undefined);
  await pollUntil({ ms: 10_000, everyMs: 100, what: "the alarm" }, async () => {
    const { result } = (await call("alarms", "rung")) as { result?: number };
    return result === 1 || undefined;
  });
});

const owners = () => ownerProcesses(solum.runtime);

function ownerPid(): number {
  const running = owners();
  expect(running).toHaveLength(1);
  return running[0]?.facts.pid ?? 0;
}

async function untilAsleep(): Promise<void> {
  const running = owners();
  expect(running).toHaveLength(1);
  await pollUntil({ ms: 30_000, everyMs: 50, what: "the owner's sleep" }, () =>
    running.some(({ facts }) => isAlive(facts)) ? undefined : true,
  );
}
