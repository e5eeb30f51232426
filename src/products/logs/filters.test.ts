import { expect, test } from "vitest";
import { acceptsOf, type TailFilter } from "#products/logs/filters.ts";
import type { LogEvent } from "#products/logs/schema.ts";

const event = (more: Partial<LogEvent> = {}): LogEvent => ({
  id: "1",
  outcome: "ok",
  eventTimestamp: 1,
  event: {
    request: { url: "http://x/", method: "GET", headers: { "x-mine": "one two", "cf-connecting-ip": "192.0.2.7" } },
  },
  logs: [{ level: "log", message: ["plain text", { deep: ["within"] }, 42], timestamp: 1 }],
  exceptions: [{ name: "Error", message: "thrown text", timestamp: 1 }],
  ...more,
});
const cron = event({ event: { cron: "* * * * *", scheduledTime: 1 }, outcome: "exceededCpu", logs: [] });
const from = (address: string) =>
  event({ event: { request: { url: "", method: "GET", headers: { "cf-connecting-ip": address } } } });

test.each<[TailFilter[], LogEvent, boolean]>([
  [[], cron, true],
  [[{ outcome: ["exception", "exceededCpu"] }], cron, true],
  [[{ outcome: ["exception", "exceededCpu"] }], event(), false],
  [[{ method: ["post", "get"] }], event(), true],
  [[{ method: ["POST"] }], event(), false],
  [[{ method: ["GET"] }], cron, false],
  [[{ header: { key: "X-Mine" } }], event(), true],
  [[{ header: { key: "x-mine", query: "two" } }], event(), true],
  [[{ header: { key: "x-mine", query: "three" } }], event(), false],
  [[{ header: { key: "x-other" } }], event(), false],
  [[{ header: { key: "x-mine" } }], cron, false],
  [[{ header: { key: "__proto__" } }], event(), false],
  [[{ client_ip: ["192.0.2.1", "192.0.2.7"] }], event(), true],
  [[{ client_ip: ["192.0.2.1"] }], event(), false],
  [[{ client_ip: ["192.0.2.7"] }], cron, false],
  // `self` is who asked, and this machine has several names for itself.
  [[{ client_ip: ["self"] }], from("127.0.0.1"), true],
  [[{ client_ip: ["self"] }], from("::ffff:127.0.0.1"), true],
  [[{ client_ip: ["self"] }], event(), false],
  [[{ query: "plain" }], event(), true],
  [[{ query: "within" }], event(), true],
  [[{ query: "42" }], event(), true],
  // Only what was logged is searched, as on Cloudflare.
  [[{ query: "thrown text" }], event(), false],
  [[{ scriptVersion: "v1" }], event(), true],
  [[{ scriptVersion: "v2" }], event(), false],
  [[{ query: "plain" }, { method: ["POST"] }], event(), false],
  [[{ sampling_rate: 1 }], event(), true],
])("%j", (filters, about, passes) => {
  expect(acceptsOf(filters, "::1")(about, "v1")).toBe(passes);
});

test("self is nobody where nobody knows who asked", () => {
  expect(acceptsOf([{ client_ip: ["self"] }], undefined)(cron, "v1")).toBe(false);
  expect(acceptsOf([{ client_ip: ["self"] }], undefined)(event(), "v1")).toBe(false);
});
