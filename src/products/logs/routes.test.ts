import { expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { createApi } from "#http/app.ts";
import { logsRoutes } from "#products/logs/routes.ts";
import { logLimits, type LogEvent } from "#products/logs/schema.ts";
import { createLogStore } from "#products/logs/store.ts";

const event = (id: string): LogEvent => ({
  id,
  outcome: "ok",
  eventTimestamp: 1,
  event: null,
  logs: [],
  exceptions: [],
});
const batch = (...ids: string[]) => ({ events: ids.map(event), unlisted: 0, dropped: 0 });

function setUp() {
  const store = createLogStore();
  const app = createApi();
  const find = async (account: string, script: string) => (account === "acc" && script === "hello" ? "w" : undefined);
  app.route("/accounts/:account_id/workers/scripts/:script_name/logs", logsRoutes(store, find));
  const live = async (signal?: AbortSignal, script = "hello", query = "") =>
    app.request(`/accounts/acc/workers/scripts/${script}/logs/live${query}`, signal ? { signal } : {});
  return { store, live };
}

test("live logs are lines of JSON, recent ones first, until the client leaves", async () => {
  const { store, live } = setUp();
  store.accept("w", "v", batch("1", "2"));
  const response = await live();
  expect(response.headers.get("content-type")).toBe("application/x-ndjson");
  store.accept("w", "v", batch("3"));
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (text.split("\n").length < 4) text += (await reader?.read())?.value ?? "";
  const lines = text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { id: string; scriptName: string });
  expect(lines.map(({ id, scriptName }) => [id, scriptName])).toEqual([
    ["1", "hello"],
    ["2", "hello"],
    ["3", "hello"],
  ]);
  expect(store.accept("w", "v", batch())).toBe("full");
  await reader?.cancel();
  await pollUntil({ ms: 5000, everyMs: 5, what: "leaving" }, () =>
    store.accept("w", "v", batch()) === "quiet" ? true : undefined,
  );
});

test("a client that goes away without a word leaves as well", async () => {
  const { store, live } = setUp();
  const gone = new AbortController();
  await live(gone.signal);
  expect(store.accept("w", "v", batch())).toBe("full");
  gone.abort();
  expect(store.accept("w", "v", batch())).toBe("quiet");
});

test("filters are those of a tail", async () => {
  const { store, live } = setUp();
  store.accept("w", "v", batch("1"));
  store.accept("w", "wanted", batch("2"));
  const filters = encodeURIComponent(JSON.stringify([{ scriptVersion: "wanted" }]));
  const gone = new AbortController();
  const response = await live(gone.signal, "hello", `?filters=${filters}`);
  const { value } = (await response.body?.getReader().read()) ?? {};
  expect(JSON.parse(Buffer.from(value ?? "").toString())).toMatchObject({ id: "2" });
  gone.abort();
  for (const bad of ["x", "{}", '[{"colour":"red"}]']) {
    const refused = await live(undefined, "hello", `?filters=${encodeURIComponent(bad)}`);
    expect(refused.status, bad).toBe(400);
  }
});

test("a Worker that does not exist, and one listener too many", async () => {
  const { live } = setUp();
  const missing = await live(undefined, "nope");
  expect([missing.status, await missing.json()]).toMatchObject([404, { success: false, errors: [{ code: 10007 }] }]);
  for (let count = 0; count < logLimits.listenersPerWorker; count++) expect((await live()).status).toBe(200);
  expect((await live()).status).toBe(429);
});
