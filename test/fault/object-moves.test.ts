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

test("a class moves between Workers whose other objects are in use", async () => {
  const release = (name: string) =>
    objectsRelease(name).replace("export default", "export class Side extends Room {}\nexport default");
  const side = { name: "SIDE", type: "durable_object_namespace", class_name: "Side" };
  const names = ["alpha", "beta"];
  for (const name of names) {
    const bindings = name === "alpha" ? [...objectsMetadata.bindings, side] : [side];
    const classes = name === "alpha" ? ["Room", "Side"] : ["Side"];
    const migrations = { new_tag: "v0", steps: [{ new_sqlite_classes: classes }] };
    await uploadWorker(solum, name, release(name), { bindings, migrations });
    await giveAddress(solum, name);
  }
  const inUse = async (name: string) => {
    const { text } = await solum.request(`${name}.localhost`, "/side");
    expect(Number(text), text).toBeGreaterThan(0);
  };
  let expected = await increment("alpha");
  const tags = ["v0", "v0"];
  for (let move = 0; move < 4; move++) {
    const [from, to] = [move % 2, (move + 1) % 2];
    for (const name of names) await inUse(name);
    const tag = `v${move + 1}`;
    await uploadWorker(solum, names[to] ?? "", release(names[to] ?? ""), {
      bindings: [...objectsMetadata.bindings, side],
      migrations: {
        old_tag: tags[to],
        new_tag: tag,
        steps: [{ transferred_classes: [{ from: "Room", from_script: names[from], to: "Room" }] }],
      },
    });
    tags[to] = tag;
    expect(await increment(names[to] ?? "")).toBe(++expected);
    for (const name of names) await inUse(name);
  }
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
