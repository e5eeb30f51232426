import assert from "node:assert/strict";
import { describe, expect, test } from "vitest";
import { logLimits, type LogBatch, type LogEvent, type LogMessage } from "#products/logs/schema.ts";
import { createLogStore } from "#products/logs/store.ts";

const event = (more: Partial<LogEvent> = {}): LogEvent => ({
  id: "a-1",
  entrypoint: "default",
  outcome: "ok",
  eventTimestamp: 1,
  wallTime: 2,
  event: { request: { url: "http://x/", method: "GET" } },
  logs: [],
  exceptions: [],
  ...more,
});
const batch = (...events: LogEvent[]): LogBatch => ({ events, unlisted: 0, dropped: 0 });
const line = (text: string): LogEvent["logs"] => [{ level: "log", message: [text], timestamp: 1 }];

/** Takes the next `count` messages. */
async function take(messages: AsyncIterable<LogMessage> | undefined, count: number): Promise<LogMessage[]> {
  const taken: LogMessage[] = [];
  if (count === 0) return taken;
  for await (const message of messages ?? []) if (taken.push(message) === count) break;
  return taken;
}

test("a listener gets the recent events, then those that come, as tail messages", async () => {
  const store = createLogStore();
  store.accept("w", "v1", batch(event({ id: "1" }), event({ id: "2", logs: line("hi") })));
  const messages = await store.listen("w", "hello", new AbortController().signal);
  store.accept("w", "v2", batch(event({ id: "3" })));
  store.accept("other", "v9", batch(event({ id: "9" })));
  const [first, second, third] = await take(messages, 3);
  expect(first).toEqual({ ...event({ id: "1" }), scriptName: "hello", scriptVersion: { id: "v1" } });
  expect(second?.logs).toEqual(line("hi"));
  expect(third).toMatchObject({ id: "3", scriptVersion: { id: "v2" } });
});

test("details are asked for only while somebody listens", async () => {
  const store = createLogStore();
  expect(store.accept("w", "v", batch())).toBe("quiet");
  const ended = new AbortController();
  const messages = await store.listen("w", "hello", ended.signal);
  expect(store.accept("w", "v", batch())).toBe("full");
  expect(store.accept("other", "v", batch())).toBe("quiet");
  ended.abort();
  expect(await take(messages, 1)).toEqual([]);
  expect(store.accept("w", "v", batch())).toBe("quiet");
  // One that stops reading has left as well.
  const again = await store.listen("w", "hello", new AbortController().signal);
  store.accept("w", "v", batch(event()));
  await take(again, 1);
  expect(store.accept("w", "v", batch())).toBe("quiet");
});

test("late lines come with the request that they belong to", async () => {
  const store = createLogStore();
  const late = event({ id: "1", part: "late", event: null, logs: line("later") });
  store.accept(
    "w",
    "v",
    batch(event({ id: "1" }), event({ id: "2", event: { cron: "* * * * *", scheduledTime: 1 } }), late),
  );
  const messages = await take(await store.listen("w", "hello", new AbortController().signal), 3);
  expect(messages[2]).toMatchObject({
    id: "1",
    part: "late",
    event: { request: { url: "http://x/" } },
    logs: line("later"),
  });
  store.accept("w", "v", batch({ ...late, id: "unknown" }));
  expect((await take(await store.listen("w", "hello", new AbortController().signal), 4))[3]).toMatchObject({
    event: null,
  });
});

describe("bounds", () => {
  test("the oldest events make room", async () => {
    const store = createLogStore();
    const all = Array.from({ length: logLimits.recentEvents + 10 }, (_, index) => event({ id: String(index) }));
    store.accept("w", "v", batch(...all));
    const [first] = await take(await store.listen("w", "hello", new AbortController().signal), 1);
    expect(first?.id).toBe("10");
    const large = event({ id: "large", logs: line("x".repeat(logLimits.recentBytes - 1000)) });
    store.accept("w", "v", batch(large));
    const [kept] = await take(await store.listen("w", "hello", new AbortController().signal), 1);
    expect(Number(kept?.id)).toBeGreaterThan(logLimits.recentEvents);
  });

  test("a listener that is too slow is told what it missed", async () => {
    const store = createLogStore();
    const messages = await store.listen("w", "hello", new AbortController().signal);
    const many = Array.from({ length: logLimits.listenerEvents + 7 }, (_, index) => event({ id: String(index) }));
    store.accept("w", "v", batch(...many));
    assert(messages);
    const iterator = messages[Symbol.asyncIterator]();
    const next = async () => (await iterator.next()).value as LogMessage;
    for (let index = 0; index < logLimits.listenerEvents; index++) {
      expect((await next()).id).toBe(String(index));
    }
    expect((await next()).event).toEqual({
      type: "overload",
      message:
        "Tail is currently in sampling mode due to the high volume of messages. To prevent messages from being dropped consider adding filters.",
    });
    store.accept("w", "v", batch(event({ id: "after" })));
    expect((await next()).event).toEqual({
      type: "overload-stop",
      message: "Tail has exited sampling mode and is no longer dropping messages. 7 were dropped.",
    });
    expect((await next()).id).toBe("after");
  });

  test("what a process dropped is told as well", async () => {
    const store = createLogStore();
    store.accept("w", "v", { events: [], unlisted: 3, dropped: 12 });
    const [notice] = await take(await store.listen("w", "hello", new AbortController().signal), 1);
    expect(notice?.event).toMatchObject({ type: "overload", message: expect.stringContaining("12") as string });
  });

  test("all Workers together keep no more than they may", () => {
    const store = createLogStore();
    const large = event({ logs: line("x".repeat(logLimits.recentBytes / 2)) });
    const workers = Math.ceil(logLimits.recentBytesInAll / (logLimits.recentBytes / 2)) + 20;
    for (let index = 0; index < workers; index++) store.accept(`w${index}`, "v", batch(large));
    const kept = async (worker: string) => {
      const ended = new AbortController();
      const messages = await store.listen(worker, "hello", ended.signal);
      store.accept(worker, "v", batch(event({ id: "last" })));
      return (await take(messages, 1))[0]?.id;
    };
    return expect(Promise.all([kept("w0"), kept(`w${workers - 1}`)])).resolves.toEqual(["last", "a-1"]);
  });

  test("listeners of one Worker are counted, and a Worker that is deleted ends them", async () => {
    const store = createLogStore();
    const { signal } = new AbortController();
    const all = await Promise.all(
      Array.from({ length: logLimits.listenersPerWorker }, () => store.listen("w", "hello", signal)),
    );
    expect(await store.listen("w", "hello", signal)).toBeUndefined();
    store.forget("w");
    for (const messages of all) expect(await take(messages, 1)).toEqual([]);
    expect(await store.listen("w", "hello", signal)).toBeDefined();
  });
});
