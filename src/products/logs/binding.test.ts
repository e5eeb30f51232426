import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { signCapability } from "#core/capability.ts";
import { createWireServer, type WireServer } from "#http/wire/server.ts";
import { logHandler } from "#products/logs/binding.ts";
import { logLimits, type LogMessage } from "#products/logs/schema.ts";
import { createLogStore } from "#products/logs/store.ts";
import { send, temporaryFolder } from "../../../test/support/workerd.ts";

const key = Buffer.alloc(32, 1);
const folder = temporaryFolder();
const path = join(folder.path, "log.sock");
const store = createLogStore();
let server: WireServer;

beforeAll(async () => {
  server = createWireServer(logHandler({ capabilityKey: key, workerId: "w", store }));
  await server.listen(path);
});
afterAll(async () => {
  await server.close();
  folder[Symbol.dispose]();
});

const event = { id: "1", outcome: "ok", eventTimestamp: 1, event: null, logs: [], exceptions: [] };
const good = { events: [event], unlisted: 0, dropped: 0 };
const capability = (more: Partial<{ scope: string; kind: string; resource: string }> = {}) =>
  signCapability(key, { scope: "w", kind: "log", resource: "version-1", ...more });
const post = async (body: unknown, token: string | undefined = capability(), target = "/batch") =>
  send(path, target, {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
    headers: token === undefined ? {} : { "x-bind": token },
  });

test("a batch is kept under the version of its capability, whatever it says itself", async () => {
  const answer = await post({ ...good, versionId: "forged", events: [{ ...event, scriptVersion: { id: "forged" } }] });
  expect(answer).toMatchObject({ status: 200, body: '{"detail":"quiet"}' });
  for await (const message of (await store.listen("w", "hello", new AbortController().signal)) ?? []) {
    expect(message satisfies LogMessage).toMatchObject({ scriptVersion: { id: "version-1" }, id: "1" });
    break;
  }
});

test("what a process cannot say itself any more is told for it", async () => {
  const ended = [
    { ...event, id: null, outcome: "exceededCpu" },
    { ...event, id: null, outcome: "exceededMemory" },
  ];
  const listening = new AbortController();
  const messages = await store.listen("w", "hello", listening.signal, { recent: false });
  expect((await post({ ...good, events: ended })).status).toBe(200);
  const outcomes: string[] = [];
  for await (const { outcome } of messages ?? []) if (outcomes.push(outcome) === 2) break;
  expect(outcomes).toEqual(["exceededCpu", "exceededMemory"]);
});

test.each<[string, unknown]>([
  ["a request without a method", { request: { url: "http://x/" } }],
  ["headers that are no texts", { request: { url: "http://x/", method: "GET", headers: { a: 1 } } }],
  ["a method of an entrypoint that is none", { rpcMethod: {} }],
  ["consumed events that are no list", { consumedEvents: {} }],
  ["no object", "x"],
])("an event with %s is kept, and what set it off is unknown", async (_name, forged) => {
  const listening = new AbortController();
  const messages = await store.listen("w", "hello", listening.signal, { recent: false });
  expect((await post({ ...good, events: [{ ...event, event: forged }] })).status).toBe(200);
  for await (const message of messages ?? []) {
    expect(message.event).toBeNull();
    break;
  }
});

test.each([
  ["none", ""],
  ["of another Worker", capability({ scope: "other" })],
  ["for something else", capability({ kind: "kv" })],
  ["forged", `${capability().slice(0, -4)}AAAA`],
])("a capability that is %s is refused", async (_name, token) => {
  expect((await post(good, token)).status).toBe(403);
});

test.each<[string, unknown]>([
  ["no JSON", "{"],
  ["no object", "[]"],
  ["members of the wrong type", { ...good, events: [{ ...event, logs: "x" }] }],
  ["an outcome that there is not", { ...good, events: [{ ...event, outcome: "fine" }] }],
  [
    "a level that there is not",
    { ...good, events: [{ ...event, logs: [{ level: "loud", message: [], timestamp: 1 }] }] },
  ],
  ["a time that is none", { ...good, events: [{ ...event, eventTimestamp: -1 }] }],
  ["too many events", { ...good, events: Array.from({ length: logLimits.readEvents + 1 }, () => event) }],
])("a batch with %s changes nothing", async (_name, body) => {
  expect((await post(body)).status).toBe(400);
});

test("a batch that is too large is refused", async () => {
  expect((await post({ ...good, padding: "x".repeat(logLimits.readBytes) })).status).toBe(413);
});

test("other paths and methods are not there", async () => {
  expect((await post(good, capability(), "/other")).status).toBe(404);
  expect((await send(path, "/batch", { headers: { "x-bind": capability() } })).status).toBe(404);
});
