import { expect, test } from "vitest";
import { messageText } from "#cli/log-text.ts";
import type { LogMessage } from "#products/logs/schema.ts";

const message = (more: Partial<LogMessage>): LogMessage => ({
  id: "1",
  scriptName: "hello",
  scriptVersion: { id: "01234567-89ab-cdef-0123-456789abcdef" },
  entrypoint: "default",
  outcome: "ok",
  eventTimestamp: 0,
  wallTime: 3,
  event: null,
  logs: [],
  exceptions: [],
  ...more,
});
const plain = (_style: unknown, text: string) => text;
const lines = (more: Partial<LogMessage>) => messageText(message(more), plain).split("\n");
const headline = (more: Partial<LogMessage>) => lines(more)[0]?.replace(/^\d\d:\d\d:\d\d\.\d{3} /, "");

test.each<[Partial<LogMessage>, string]>([
  [
    { event: { request: { method: "GET", url: "http://x/" }, response: { status: 204 } } },
    "GET http://x/ 204 - Ok (3 ms, 01234567)",
  ],
  [
    { event: { request: { method: "GET", url: "http://x/" } }, outcome: "exception" },
    "GET http://x/ - Exception Thrown (3 ms, 01234567)",
  ],
  [{ entrypoint: "Greeter", event: { rpcMethod: "greet" } }, "Greeter.greet() - Ok (3 ms, 01234567)"],
  [{ event: { cron: "* * * * *", scheduledTime: 1 } }, 'Cron "* * * * *" - Ok (3 ms, 01234567)'],
  [{ event: { queue: "q", batchSize: 1 } }, "Queue q, 1 message - Ok (3 ms, 01234567)"],
  [{ event: { mailFrom: "a", rcptTo: "b", rawSize: 5 } }, "Email from a to b, 5 bytes - Ok (3 ms, 01234567)"],
  [{ event: { scheduledTime: "2026-01-01T00:00:00Z" } }, "Alarm - Ok (3 ms, 01234567)"],
  [{ event: { getWebSocketEvent: { webSocketEventType: "message" } } }, "WebSocket message - Ok (3 ms, 01234567)"],
  [{ event: { consumedEvents: [{ scriptName: "a" }, { scriptName: "a" }] } }, "Tailing a - Ok (3 ms, 01234567)"],
  [{ outcome: "exceededMemory" }, "default - Exceeded Memory Limit (3 ms, 01234567)"],
  [{ part: "late", event: { rpcMethod: "greet" } }, "default.greet() (later) (01234567)"],
  [{ part: "startup", id: null }, "Start-up (01234567)"],
])("%j", (more, text) => {
  expect(headline(more)).toBe(text);
});

test("lines, what was thrown, and notices", () => {
  const text = lines({
    logs: [{ level: "warn", message: ["two\nlines", { a: [1] }], timestamp: 0 }],
    exceptions: [{ name: "Error", message: "boom", stack: "    at a (b:1:2)\n    at c", timestamp: 0 }],
  });
  expect(text[1]).toMatch(/^ {2}\S+ warn {3}two$/);
  expect(text[2]?.trim()).toBe("lines { a: [ 1 ] }");
  expect(text.slice(3)).toEqual(["  Error: boom", "    at a (b:1:2)", "    at c", ""]);
  expect(lines({ id: null, event: { type: "overload", message: "too many" } })).toEqual(["too many", ""]);
});

test("what a Worker writes cannot steer the terminal", () => {
  const text = messageText(
    message({
      event: { request: { method: "GET", url: "http://x/\u001b[2J" } },
      logs: [{ level: "log", message: ["\u001b]0;title\u0007", "\u009b31m"], timestamp: 0 }],
      exceptions: [{ name: "E\u001b[1m", message: "\r", stack: "at \u0000", timestamp: 0 }],
    }),
    plain,
  );
  // oxlint-disable-next-line no-control-regex -- they are what is looked for.
  expect(text).not.toMatch(/[\0-\u0008\u000b-\u001f\u007f-\u009f]/);
  expect(text).toContain("\\u001b]0;title\\u0007 \\u009b31m");
});
