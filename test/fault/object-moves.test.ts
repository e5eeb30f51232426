import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil, sleep } from "#core/deadline.ts";
import { giveAddress, uploadWorker } from "../support/direct-upload.ts";
import { callObject, objectsMetadata, objectsRelease } from "../support/objects-worker.ts";
import { Solum } from "../support/start-solum.ts";

/** A class of Durable Objects moves between two Workers while the supervisor, which moves its data, is killed. */
const rounds = Number(process.env["KILL_ROUNDS"] ?? 6);
let solum: Solum;
beforeAll(async () => {
  solum = new Solum();
  await solum.start();
  await uploadWorker(solum, "left", objectsRelease("left"), objectsMetadata);
  // The other one begins without the class.
  await uploadWorker(solum, "right", objectsRelease("right"));
  for (const name of ["left", "right"]) await giveAddress(solum, name);
}, 60_000);
afterAll(() => solum[Symbol.asyncDispose]());

test("no acknowledged increment is lost when the supervisor dies while data moves", async () => {
  const seed = Date.now() % 1_000_000;
  let random = seed;
  const next = () => (random = (random * 48_271) % 2_147_483_647) / 2_147_483_647;
  let acknowledged = await increment("left");
  expect(acknowledged).toBe(1);
  const tags: Record<string, string> = { left: "v1" };
  for (let round = 0; round < rounds; round++) {
    const [from, to] = round % 2 === 0 ? ["left", "right"] : ["right", "left"];
    const tag = `move${round}`;
    const move = async () => takeRoom(to, { from, oldTag: tags[to], newTag: tag });
    // What was cut off may be live all the same.
    const moved = move().catch(() => undefined);
    await sleep(next() * 400);
    await solum.killSupervisor();
    await solum.up();
    await moved;
    const isThere = (await tagOf(to)) === tag;
    const where = isThere ? to : from;
    const value = await increment(where);
    expect(value, `round ${round}, seed ${seed}`).toBeGreaterThan(acknowledged);
    acknowledged = value;
    // The next round starts from there.
    if (!isThere) await move();
    tags[to] = tag;
  }
  process.stdout.write(`${rounds} moves (seed ${seed}): ${acknowledged} increments, 0 lost\n`);
});

type Move = { from: string; oldTag: string | undefined; newTag: string };

async function takeRoom(to: string, { from, oldTag, newTag }: Move): Promise<void> {
  await uploadWorker(solum, to, objectsRelease(to), {
    bindings: objectsMetadata.bindings,
    migrations: {
      ...(oldTag === undefined ? {} : { old_tag: oldTag }),
      new_tag: newTag,
      steps: [{ transferred_classes: [{ from: "Room", from_script: from, to: "Room" }] }],
    },
  });
}

async function tagOf(worker: string): Promise<string | undefined> {
  const { json } = await solum.api("GET", `/workers/services/${worker}`);
  return (json.result as { default_environment: { script: { migration_tag?: string } } }).default_environment.script
    .migration_tag;
}

/** Asks until there is an answer: a call that did not get through has not been counted. */
async function increment(worker: string): Promise<number> {
  return pollUntil({ ms: 20_000, everyMs: 100, what: `an answer of ${worker}` }, async () => {
    const answer = await callObject(solum, { name: "ledger", method: "increment", worker });
    return answer.result;
  });
}
