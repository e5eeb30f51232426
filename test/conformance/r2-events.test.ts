import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { findChildren } from "#runtime/proc.ts";
import { giveAddress, uploadWorker } from "../support/direct-upload.ts";
import { Solum } from "../support/start-solum.ts";

/** What happens to objects reaches the queues that wrangler was told (https://developers.cloudflare.com/r2/buckets/event-notifications/). */
let solum: Solum;
let project: string;
let queueId = "";
beforeAll(async () => {
  solum = await Solum.start();
  project = solum.project("hello");
  for (const args of [
    ["r2", "bucket", "create", "files"],
    ["queues", "create", "changes"],
    ["queues", "consumer", "http", "add", "changes"],
  ])
    await succeed(...args);
  const { json } = await solum.api("GET", "/queues?name=changes");
  queueId = (json.result as { queue_id: string }[])[0]?.queue_id ?? "";
  const { json: bucket } = await solum.api("GET", "/r2/buckets/files");
  expect(bucket.success).toBe(true);
  await uploadWorker(solum, "writer", writer, {
    bindings: [{ name: "FILES", type: "r2_bucket", bucket_name: "files" }],
  });
  await giveAddress(solum, "writer");
}, 60_000);
afterAll(() => solum[Symbol.asyncDispose]());

const writer = `export default {
  async fetch(request, env) {
    const key = decodeURIComponent(new URL(request.url).pathname.slice(1));
    if (request.method === "DELETE") await env.FILES.delete(key);
    else if (request.method === "POST") {
      const upload = await env.FILES.createMultipartUpload(key);
      await upload.complete([await upload.uploadPart(1, "in parts")]);
    } else await env.FILES.put(key, request.body ?? "");
    return new Response("done");
  },
};`;

async function succeed(...args: string[]): Promise<string> {
  const outcome = await solum.wrangler(project, args);
  expect(outcome.code, outcome.output).toBe(0);
  return outcome.output;
}

const write = async (method: string, key: string, body?: string) => {
  const options = { method, ...(body === undefined ? {} : { body }) };
  return (await solum.request("writer.localhost", `/${encodeURIComponent(key)}`, options)).status;
};

type Event = { action: string; bucket: string; account: string; object: { key: string }; eventTime: string };

/** Takes what the queue has until there are `count`. */
async function events(count: number, ms = 10_000): Promise<Event[]> {
  const found: Event[] = [];
  await pollUntil({ ms, everyMs: 50, what: `${count} events, of which ${JSON.stringify(found)} came` }, async () => {
    const { json } = await solum.api("POST", `/queues/${queueId}/messages/pull`, { batch_size: 100 });
    const { messages } = json.result as { messages: { body: string; lease_id: string }[] };
    found.push(...messages.map(({ body }) => JSON.parse(Buffer.from(body, "base64").toString()) as Event));
    const acks = messages.map(({ lease_id }) => ({ lease_id }));
    if (acks.length > 0) await solum.api("POST", `/queues/${queueId}/messages/ack`, { acks, retries: [] });
    return found.length >= count ? true : undefined;
  });
  return found;
}

test("wrangler makes rules; objects made, copied and removed are told, those that no rule means are not", async () => {
  await succeed(
    "r2",
    "bucket",
    "notification",
    "create",
    "files",
    "--event-type",
    "object-create",
    "object-delete",
    "--queue",
    "changes",
    "--suffix",
    ".txt",
  );
  expect(await succeed("r2", "bucket", "notification", "list", "files")).toMatch(/changes[\s\S]*\.txt/);
  expect(await write("PUT", "notes/a.txt", "hello")).toBe(200);
  expect(await write("PUT", "notes/a.jpg", "picture")).toBe(200);
  expect(await write("POST", "big.txt")).toBe(200);
  const file = join(project, "from-wrangler.txt");
  writeFileSync(file, "by wrangler");
  await succeed("r2", "object", "put", "files/w.txt", "--file", file, "--remote");
  expect(await write("DELETE", "notes/a.txt")).toBe(200);
  expect(await write("DELETE", "notes/a.jpg")).toBe(200);
  // What is not there is not deleted.
  expect(await write("DELETE", "nothing.txt")).toBe(200);
  const account = solum.environment["CLOUDFLARE_ACCOUNT_ID"];
  const about = { account, bucket: "files", eventTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) };
  expect(await events(4)).toEqual([
    {
      ...about,
      action: "PutObject",
      object: { key: "notes/a.txt", size: 5, eTag: "5d41402abc4b2a76b9719d911017c592" },
    },
    {
      ...about,
      action: "CompleteMultipartUpload",
      object: { key: "big.txt", size: 8, eTag: expect.stringMatching(/-1$/) },
    },
    { ...about, action: "PutObject", object: { key: "w.txt", size: 11, eTag: expect.any(String) } },
    { ...about, action: "DeleteObject", object: { key: "notes/a.txt" } },
  ]);
});

test("no event of an acknowledged write is lost when the process that has both is killed", async () => {
  const kills = Number(process.env["KILL_ROUNDS"] ?? 5);
  const keys: string[] = [];
  for (let round = 0; round < kills; round++) {
    for (let at = 0; at < 5; at++) {
      const key = `kept/${round}-${at}.txt`;
      if ((await write("PUT", key, "x").catch(() => 0)) === 200) keys.push(key);
    }
    const state = findChildren(solum.runtime).find(({ mark }) => mark.name === "state");
    if (state) process.kill(state.facts.pid, "SIGKILL");
    await pollUntil({ ms: 20_000, everyMs: 50, what: "the store" }, async () =>
      (await write("PUT", "probe.jpg", "x").catch(() => 0)) === 200 ? true : undefined,
    );
  }
  const told = new Set<string>();
  await pollUntil({ ms: 20_000, everyMs: 50, what: "all events" }, async () => {
    for (const { object } of await events(0)) told.add(object.key);
    return keys.every((key) => told.has(key)) ? true : undefined;
  });
  expect(keys.length).toBeGreaterThanOrEqual(kills * 4);
});

test("without its rule nothing more is told; a queue that is gone holds nothing up", async () => {
  await succeed("queues", "create", "other");
  await succeed("r2", "bucket", "notification", "create", "files", "--event-type", "object-create", "--queue", "other");
  await succeed("queues", "delete", "other");
  expect(await write("PUT", "both.txt", "x")).toBe(200);
  expect((await events(1)).map(({ object }) => object.key)).toEqual(["both.txt"]);
  await succeed("r2", "bucket", "notification", "delete", "files", "--queue", "changes");
  expect(await write("PUT", "silent.txt", "x")).toBe(200);
  await pollUntil({ ms: 5000, everyMs: 100, what: "a look of the courier" }, async () => {
    const { json } = await solum.api("GET", `/queues/${queueId}/metrics`);
    return (json.result as { backlog_count: number }).backlog_count === 0 ? true : undefined;
  });
  expect(await events(0)).toEqual([]);
});
