import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { newTimeUuid } from "#core/ids.ts";
import { openDatabase } from "#db/database.ts";
import { logStore } from "#products/ai-gateway/log-store.ts";
import { gatewaySettings, type Gateway, type LogRow } from "#products/ai-gateway/schema.ts";

const accountId = "0123456789abcdef0123456789abcdef";
const settings = gatewaySettings.parse({
  cache_invalidate_on_update: false,
  cache_ttl: 0,
  collect_logs: true,
  rate_limiting_interval: 0,
  rate_limiting_limit: 0,
  log_management: 10_000,
});
const gateway: Gateway = { accountId, id: "main", settings, epoch: 0, createdAt: "", modifiedAt: "" };
const place = { accountId, gatewayId: "main" };
const everything = { page: 1, perPage: 100_000, filters: [], descending: false };

function row(more: Partial<LogRow> = {}): LogRow {
  const body = Buffer.from("{}");
  return {
    id: newTimeUuid(),
    accountId,
    gatewayId: "main",
    createdAt: Date.now(),
    provider: "openai",
    model: "gpt-4o",
    path: "v1/chat/completions",
    durationMs: 10,
    latencyMs: 5,
    requestType: "chat",
    status: 200,
    success: true,
    requestContentType: "application/json",
    responseContentType: "application/json",
    cached: false,
    tokensIn: 10,
    tokensOut: 5,
    costNano: 100,
    savedNano: null,
    customCost: false,
    metadata: {},
    step: 0,
    eventId: null,
    userAgent: "test",
    authentication: false,
    byok: false,
    route: null,
    workerId: null,
    usage: null,
    attempts: [],
    requestSize: 2,
    responseSize: 2,
    request: body,
    requestComplete: true,
    response: body,
    responseComplete: true,
    ...more,
  };
}

test("bodies that wait for the disk are bounded; their rows are kept all the same", async () => {
  const folder = mkdtempSync(join(tmpdir(), "solum-logs-"));
  await using db = await openDatabase(join(folder, "ai.db"), ["ai-gateway"]);
  const logs = logStore(db);
  const large = Buffer.alloc(1024 * 1024);
  for (let index = 0; index < 100; index++) logs.record(gateway, row({ request: large, response: null }));
  const { rows, total } = await logs.list(place, everything);
  expect(total).toBe(100);
  expect(rows.filter(({ request }) => request !== null).length).toBe(64);
  // What is written makes room.
  logs.record(gateway, row({ request: large }));
  expect((await logs.list(place, everything)).rows.at(-1)?.request?.length).toBe(large.length);
  rmSync(folder, { recursive: true, force: true });
});

test("a gateway keeps so many rows: the oldest make room, or new ones are left out", async () => {
  const folder = mkdtempSync(join(tmpdir(), "solum-logs-"));
  await using db = await openDatabase(join(folder, "ai.db"), ["ai-gateway"]);
  const logs = logStore(db);
  const fill = async (from: number, count: number, of = gateway) => {
    for (let index = 0; index < count; index++) logs.record(of, row({ createdAt: from + index }));
    await logs.list(place, { ...everything, perPage: 1 });
  };
  await fill(0, 9000);
  await fill(9000, 3000);
  const { rows, total } = await logs.list(place, { ...everything, perPage: 1 });
  expect([total, rows[0]?.createdAt]).toEqual([10_000, 2000]);
  await fill(20_000, 10, { ...gateway, settings: { ...settings, log_management_strategy: "STOP_INSERTING" } });
  expect((await logs.list(place, { ...everything, perPage: 1, descending: true })).rows[0]?.createdAt).toBe(11_999);
  rmSync(folder, { recursive: true, force: true });
});

test("filters find rows by any of their members, and by one metadata key's own value", async () => {
  const folder = mkdtempSync(join(tmpdir(), "solum-logs-"));
  await using db = await openDatabase(join(folder, "ai.db"), ["ai-gateway"]);
  const logs = logStore(db);
  logs.record(gateway, row({ eventId: "a", metadata: { team: "red", other: "blue" }, costNano: 500 }));
  logs.record(gateway, row({ eventId: "b", metadata: { team: "blue" }, costNano: 1500, cached: true }));
  logs.record(
    gateway,
    row({ eventId: "c", provider: "groq", model: "llama", costNano: null, success: false, status: 500 }),
  );
  const found = async (
    key: string,
    operator: "eq" | "neq" | "contains" | "lt" | "gt",
    ...value: (string | number | boolean | null)[]
  ) => {
    const { rows } = await logs.list(place, { ...everything, filters: [{ key, operator, value }] });
    return rows.map(({ eventId }) => eventId).join("");
  };
  expect(await found("provider", "eq", "openai")).toBe("ab");
  expect(await found("provider", "neq", "openai", "mistral")).toBe("c");
  expect(await found("model", "contains", "lla")).toBe("c");
  expect(await found("cost", "gt", 0.000_001)).toBe("b");
  expect(await found("cost", "eq", null)).toBe("c");
  expect(await found("success", "eq", false)).toBe("c");
  expect(await found("cached", "eq", "true")).toBe("b");
  expect(await found("tokens", "gt", 14)).toBe("abc");
  expect(await found("metadata.value", "eq", "blue")).toBe("ab");
  expect(await found("metadata.team", "eq", "blue")).toBe("b");
  expect(await found("metadata.key", "eq", "other")).toBe("a");
  await expect(found("drop table", "eq", 1)).rejects.toThrow("cannot be filtered");
  await expect(found('metadata.a"b', "eq", 1)).rejects.toThrow("quotation");
  rmSync(folder, { recursive: true, force: true });
});
