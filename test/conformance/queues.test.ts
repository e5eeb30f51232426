import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { Solum } from "../support/start-solum.ts";

type Note = {
  queue: string;
  messages: { id: string; attempts: number; at: number; body: { then?: string; n?: string } }[];
};
type QueueJson = { queue_id: string; queue_name: string };

let solum: Solum;
let project: string;
beforeAll(async () => {
  solum = await Solum.start();
  project = solum.project("queues");
  for (const name of ["jobs", "jobs-dead", "slow"]) await solum.api("POST", "/queues", { queue_name: name });
  const deployed = await solum.wrangler(project, ["deploy"]);
  expect(deployed).toMatchObject({ code: 0, output: expect.stringContaining("Consumer for jobs-dead") });
}, 60_000);
afterAll(() => solum[Symbol.asyncDispose]());

const call = async (path: string): Promise<unknown> =>
  JSON.parse((await solum.request("queues.localhost", `/${path}`)).text);
const notesOf = async (queue: string) => (await call(`seen?queue=${queue}`)) as Note[];
const messagesOf = async (queue: string) => (await notesOf(queue)).flatMap(({ messages }) => messages);
const idOf = async (name: string) => {
  const { json } = await solum.api("GET", `/queues?page=1&name=${name}`);
  return (json.result as QueueJson[])[0]?.queue_id ?? "";
};
const backlog = async (name: string) =>
  ((await solum.api("GET", `/queues/${await idOf(name)}/metrics`)).json.result as { backlog_count: number })
    .backlog_count;
/** Waits until all that was sent to `jobs` is acknowledged, and what died is consumed from the dead letter queue as well. */
const settled = () =>
  pollUntil({ ms: 20_000, everyMs: 30, what: "the end of all deliveries" }, async () =>
    (await backlog("jobs")) === 0 && (await backlog("jobs-dead")) === 0 ? true : undefined,
  );
const wrangler = async (...args: string[]) => {
  const { code, output } = await solum.wrangler(project, ["queues", ...args]);
  return { code, output };
};

describe("a producer and its consumer", () => {
  test("exchange messages of every type", async () => {
    expect(await call("types")).toMatchObject({ metadata: { metrics: { backlogCount: 4, backlogBytes: 49 } } });
    await settled();
    expect(await messagesOf("jobs")).toMatchObject([
      { attempts: 1, body: { a: [1, null, "é"] } },
      { attempts: 1, body: "text é\u{1f600}" },
      { attempts: 1, body: { ArrayBuffer: [0, 255, 128] } },
      { attempts: 1, body: { Map: [[1, 5]] } },
    ]);
    expect(await call("metrics")).toMatchObject({ backlogCount: 0, backlogBytes: 0 });
  });

  test("are told what is too large, too many or unknown, and nothing is sent", async () => {
    expect(await call("tooLarge")).toEqual({
      error: "Error: message length of 128001 bytes exceeds limit of 128000 bytes (10204)",
    });
    expect(await call("batchTooLarge")).toEqual({
      error: "Error: batch size of 300000 bytes exceeds limit of 256000 bytes (10205)",
    });
    expect(await call("tooMany")).toEqual({
      error: "Error: batch message count of 101 exceeds limit of 100 (10206)",
    });
    expect(await call("longDelay")).toEqual({
      error: "Error: message delay 86401 is invalid; it must be between 0 and 86400 seconds (10203)",
    });
    expect(await call("badType")).toEqual({ error: "TypeError: Unsupported queue message content type: xml" });
    expect(await call("circular")).toMatchObject({ error: expect.stringContaining("circular structure") });
    expect(await backlog("jobs")).toBe(0);
  });

  // max_retries is 1: what is tried again is delivered twice, and then to the dead letter queue, which acknowledges it.
  // queues/configuration/batching-retries: per-message words go before those about the batch, and the first one counts.
  const outcomes: [scenario: string[], deliveries: number[]][] = [
    [["ack"], [1]],
    [["retry"], [2]],
    [["retry, then ack"], [2]],
    [["ack, then retry"], [1]],
    [
      ["ack, then throw", "throw"],
      [1, 2],
    ],
    [
      ["ack all, then throw", "nothing"],
      [1, 1],
    ],
    [
      ["ack", "retry all", "nothing"],
      [1, 2, 2],
    ],
  ];
  test("settle each message by the first word about it, else by that about its batch", async () => {
    for (const [index, [words, expected]] of outcomes.entries()) {
      const query = words.map((word) => `then=${encodeURIComponent(word)}`).join("&");
      await call(`sendTogether?${query}&run=${index}`);
      await settled();
      const mine = (await messagesOf("jobs")).filter(({ body }) => body.n?.startsWith(`${index}.`));
      const counts = words.map((_, at) => mine.filter(({ body }) => body.n === `${index}.${at}`).length);
      expect.soft(counts, words.join(" · ")).toEqual(expected);
      const dead = (await messagesOf("jobs-dead")).filter(({ body }) => body.n?.startsWith(`${index}.`));
      expect.soft(dead.length, `dead letters of ${words.join(" · ")}`).toBe(expected.filter((n) => n === 2).length);
      // The dead letter is the same message.
      for (const { id, attempts, body } of dead)
        expect.soft([id, attempts]).toEqual([mine.find((message) => message.body.n === body.n)?.id, 1]);
    }
  });

  test("wait for a delay, of a send and of a retry", async () => {
    const before = Date.now();
    await Promise.all([call("delayed"), call(`send?n=later&then=${encodeURIComponent("retry later")}`)]);
    await settled();
    const messages = await messagesOf("jobs");
    expect(messages.find(({ body }) => body.n === "delayed")?.at).toBeGreaterThanOrEqual(before + 2000);
    const [first, second] = messages.filter(({ body }) => body.n === "later");
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThanOrEqual(2000);
  });

  test("fill a batch before its time is over", async () => {
    await call("slow?n=1");
    await call("slow?n=2");
    expect(await notesOf("slow")).toEqual([]);
    await call("slow?n=3");
    const notes = await pollUntil({ ms: 10_000, everyMs: 30, what: "a full batch" }, async () => {
      const found = await notesOf("slow");
      return found.length > 0 ? found : undefined;
    });
    expect(notes.map(({ messages }) => messages.map(({ body }) => body.n))).toEqual([["1", "2", "3"]]);
  });
});

describe("HTTP", () => {
  test("takes messages, hands them to one who pulls, and shows and removes them", async () => {
    const { json } = await solum.api("POST", "/queues", { queue_name: "pulled" });
    const queue = `/queues/${(json.result as QueueJson).queue_id}`;
    const post = async (path: string, body: unknown) => (await solum.api("POST", `${queue}${path}`, body)).json;
    await post("/consumers", { type: "http_pull", settings: { batch_size: 2, max_retries: 5 } });
    expect(await post("/messages", { body: { a: 1 } })).toMatchObject({
      result: { metadata: { metrics: { backlog_count: 1, backlog_bytes: 7 } } },
    });
    const batch = [
      { body: "é", content_type: "text" },
      { body: 3, content_type: "json", delay_seconds: 3600 },
      { body: "d", content_type: "text" },
    ];
    await post("/messages/batch", { messages: batch });
    const pulled = await post("/messages/pull", { visibility_timeout_ms: 60_000 });
    const { messages } = pulled.result as { messages: { lease_id: string }[] };
    expect(pulled.result).toMatchObject({
      message_backlog_count: 4,
      messages: [
        { attempts: 1, body: Buffer.from('{"a":1}').toString("base64"), metadata: { "CF-Content-Type": "json" } },
        { body: "é", metadata: { "CF-Content-Type": "text" } },
      ],
    });
    const [acks, retries] = messages.map(({ lease_id: lease }) => [{ lease_id: lease }]);
    expect(await post("/messages/ack", { acks, retries })).toMatchObject({ result: { ackCount: 1, retryCount: 1 } });
    expect(await post("/messages/ack", { acks })).toMatchObject({ result: { ackCount: 0 } });
    const peeked = (await post("/messages/peek", {})).result as { messages: { ref: string; body: string }[] };
    // The one that was given back, the second text, and the delayed one, as JSON.
    expect(peeked.messages.map(({ body }) => body).toSorted()).toEqual(["Mw==", "d", "é"]);
    await post("/messages/purge", { refs: peeked.messages.slice(1).map(({ ref }) => ({ ref })) });
    expect((await solum.api("GET", `${queue}/metrics`)).json.result).toMatchObject({ backlog_count: 1 });
    expect(await post("/messages", { body: 1, content_type: "v8" })).toMatchObject({ errors: [{ code: 10203 }] });
    expect(await post("/messages", "")).toMatchObject({ success: false });
  });

  test("refuses a second consumer, settings out of bounds, and to delete a Worker that consumes", async () => {
    const queue = `/queues/${await idOf("jobs")}`;
    const second = { type: "worker", script_name: "queues", settings: {} };
    expect(await solum.api("POST", `${queue}/consumers`, second)).toMatchObject({
      status: 409,
      json: { errors: [{ code: 11004 }] },
    });
    const bad = { ...second, settings: { batch_size: 101 } };
    expect(await solum.api("POST", `${queue}/consumers`, bad)).toMatchObject({ json: { errors: [{ code: 100127 }] } });
    const missing = { ...second, script_name: "nothing" };
    expect(await solum.api("POST", `${queue}/consumers`, missing)).toMatchObject({
      json: { errors: [{ code: 10007 }] },
    });
    expect(await solum.api("DELETE", "/workers/scripts/queues")).toMatchObject({
      json: { errors: [{ code: 10064, message: "script still in use as a consumer for a queue" }] },
    });
  });
});

test("every command of wrangler queues", { timeout: 90_000 }, async () => {
  const [created, info] = await Promise.all([
    wrangler("create", "made", "--delivery-delay-secs", "5"),
    wrangler("info", "jobs"),
  ]);
  expect(created.output).toContain("Created queue 'made'");
  expect(info.output).toContain("Producers: worker:queues");
  expect(info.output).toContain("Consumers: worker:queues");

  const [, paused] = await Promise.all([
    wrangler("update", "made", "--message-retention-period-secs", "120"),
    wrangler("pause-delivery", "jobs"),
  ]);
  expect((await solum.api("GET", `/queues/${await idOf("made")}`)).json.result).toMatchObject({
    settings: { delivery_delay: 5, message_retention_period: 120 },
  });
  expect(paused.output).toContain("Paused message delivery");
  await call("send?n=paused");
  await solum.api("POST", `/queues/${await idOf("made")}/messages`, { body: 1 });

  const [purged, added] = await Promise.all([
    wrangler("purge", "made", "--force"),
    wrangler("consumer", "http", "add", "made", "--batch-size", "7"),
  ]);
  expect(purged.output).toContain("Purged Queue 'made'");
  expect(await backlog("made")).toBe(0);
  expect(added.output).toContain("Added consumer");
  expect(await backlog("jobs")).toBe(1);

  const [resumed, listed] = await Promise.all([
    wrangler("resume-delivery", "jobs"),
    wrangler("consumer", "http", "list", "made", "--json"),
  ]);
  expect(resumed.output).toContain("Resumed message delivery");
  expect(JSON.parse(listed.output)).toMatchObject([{ settings: { batch_size: 7 } }]);
  await settled();
  expect((await messagesOf("jobs")).map(({ body }) => body.n)).toContain("paused");

  const [removed, worker] = await Promise.all([
    wrangler("consumer", "http", "remove", "made"),
    wrangler("consumer", "add", "made", "queues", "--batch-timeout", "1"),
  ]);
  expect(removed.output).toContain("Removed consumer");
  expect(worker.output).toContain("Added consumer");

  const [consumers, all] = await Promise.all([wrangler("consumer", "list", "made"), wrangler("list")]);
  expect(consumers.output).toContain("queues");
  expect(all.output).toMatch(/jobs-dead[^]*made/);

  const [gone, refused] = await Promise.all([
    wrangler("consumer", "remove", "made", "queues"),
    wrangler("subscription", "create", "made", "--source", "kv", "--events", "namespace.created"),
  ]);
  expect(gone.output).toContain("Removed consumer");
  expect(refused).toMatchObject({ code: 1, output: expect.stringContaining("not supported by Solum") });
  expect((await wrangler("delete", "made")).output).toContain("Deleted queue made");
  expect(await wrangler("info", "made")).toMatchObject({
    code: 1,
    output: expect.stringContaining('Queue "made" does not exist'),
  });
});

test("dead letters go back in one call, to the queue that they came from", async () => {
  const create = async (queue_name: string) =>
    ((await solum.api("POST", "/queues", { queue_name })).json.result as { queue_id: string }).queue_id;
  const [main, dead] = [await create("main"), await create("main-dead")];
  const consumer = { type: "http_pull", dead_letter_queue: "main-dead", settings: { max_retries: 0 } };
  expect((await solum.api("POST", `/queues/${main}/consumers`, consumer)).json.errors).toEqual([]);
  const messages = Array.from({ length: 30 }, (_, n) => ({ body: { n } }));
  await solum.api("POST", `/queues/${main}/messages/batch`, { messages });
  const pulled = await solum.api("POST", `/queues/${main}/messages/pull`, { batch_size: 100 });
  const leases = (pulled.json.result as { messages: { lease_id: string }[] }).messages;
  const retries = leases.map(({ lease_id }) => ({ lease_id }));
  await solum.api("POST", `/queues/${main}/messages/ack`, { acks: [], retries });
  const waitingIn = async (id: string) =>
    ((await solum.api("GET", `/queues/${id}/metrics`)).json.result as { backlog_count: number }).backlog_count;
  expect([await waitingIn(main), await waitingIn(dead)]).toEqual([0, 30]);
  const redrive = async (id: string, body: object = {}) => solum.api("POST", `/queues/${id}/messages/redrive`, body);
  expect((await redrive(dead, { max_messages: 10 })).json.result).toEqual({ moved_count: 10, target_queue_id: main });
  expect((await redrive(dead)).json.result).toEqual({ moved_count: 20, target_queue_id: main });
  expect([await waitingIn(main), await waitingIn(dead)]).toEqual([30, 0]);
  const nobody = await redrive(main);
  expect([nobody.status, nobody.json.errors[0]?.message]).toEqual([
    400,
    expect.stringMatching(/no queue has this one/),
  ]);
});
