import { describe, expect, test } from "vitest";
import { failure, message, start, type QueueSuite } from "#products/queues/suite.contract.ts";

/** What is sent, how much of it there may be, and how it is counted. */
export function sendContract(queues: QueueSuite): void {
  describe("messages", () => {
    test("of every type and size come back as they were sent", async () => {
      const bodies = [0, 1, 999, 1000, 1001, 128_000].map((size) => Buffer.alloc(size, size % 251));
      for (const body of bodies) await queues.store.send(queues.queue, [{ body, contentType: "bytes" }]);
      for (const contentType of ["json", "text", "v8"] as const)
        await queues.store.send(queues.queue, [{ body: Buffer.from("x"), contentType }]);
      const { num } = await queues.consume();
      const rows = queues.push.ready(num, 100).map(({ row }) => row);
      const { messages, damaged } = queues.push.read(num, rows);
      expect(damaged).toEqual([]);
      expect(messages.slice(0, 6).map(({ body }) => Buffer.compare(body, bodies.shift() ?? Buffer.from("?")))).toEqual(
        Array.from({ length: 6 }, () => 0),
      );
      expect(messages.slice(6).map(({ contentType }) => contentType)).toEqual(["json", "text", "v8"]);
      expect(messages[0]).toMatchObject({ attempts: 1, timestamp: start, id: expect.stringMatching(/^[0-9a-f]{32}$/) });
      expect(new Set(messages.map(({ id }) => id)).size).toBe(9);
    });

    test("past a limit are refused with Cloudflare's codes, and nothing is sent", async () => {
      const send = (...bytes: number[]) =>
        queues.store.send(
          queues.queue,
          bytes.map((size) => ({ body: Buffer.alloc(size), contentType: "bytes" })),
        );
      await expect(send(128_001)).rejects.toThrow(
        failure(413, 10204, "message length of 128001 bytes exceeds limit of 128000 bytes"),
      );
      await expect(send(10, 128_001)).rejects.toThrow(failure(413, 10204));
      await expect(send(128_000, 128_000, 1)).rejects.toThrow(
        failure(413, 10205, "batch size of 256001 bytes exceeds limit of 256000 bytes"),
      );
      await expect(send(...Array.from({ length: 101 }, () => 1))).rejects.toThrow(
        failure(413, 10206, "batch message count of 101 exceeds limit of 100"),
      );
      await expect(send()).rejects.toThrow(failure(400, 10206));
      expect(await queues.store.metrics(queues.queue)).toEqual({
        backlogCount: 0,
        backlogBytes: 0,
        oldestMessageTimestamp: 0,
      });
    });

    test("are counted with their bytes and the age of the oldest, delayed ones among them", async () => {
      await queues.store.send(queues.queue, [{ ...message("abc"), delaySeconds: 60 }]);
      queues.now += 1000;
      const metrics = await queues.store.send(queues.queue, [message("de"), message("f")]);
      expect(metrics).toEqual({ backlogCount: 3, backlogBytes: 6, oldestMessageTimestamp: start });
      expect(await queues.store.metrics({ boundQueueId: queues.queue.queueId })).toEqual(metrics);
    });

    test("wait as long as they say, else as long as their queue says, and 0 is a word", async () => {
      const { id } = await queues.create("slow", { delivery_delay: 10 });
      queues.queue = { accountId: queues.account, queueId: id };
      const { num } = await queues.consume();
      await queues.store.send(queues.queue, [
        message("usual"),
        { ...message("at once"), delaySeconds: 0 },
        { ...message("late"), delaySeconds: 86_400 },
      ]);
      expect(queues.readyTexts(num)).toEqual(["at once"]);
      expect(queues.push.nextVisibleAt(num)).toBe(start + 10_000);
      queues.now += 10_000;
      expect(queues.readyTexts(num)).toEqual(["at once", "usual"]);
      queues.now = start + 86_400_000;
      expect(queues.readyTexts(num)).toEqual(["at once", "usual", "late"]);
    });

    test("are gone when their retention is over", async () => {
      const { id } = await queues.create("short", { message_retention_period: 60 });
      queues.queue = { accountId: queues.account, queueId: id };
      const { num } = await queues.consume();
      await queues.send("old");
      queues.now += 30_000;
      await queues.send("young");
      queues.now += 30_000;
      expect(queues.readyTexts(num)).toEqual(["young"]);
      // The clean-up looks once a second.
      await expect
        .poll(async () => (await queues.store.metrics(queues.queue)).backlogCount, { timeout: 10_000 })
        .toBe(1);
    });

    test("are all gone after a purge, at once, and later ones are not", async () => {
      await queues.consume();
      await queues.send("a", "b");
      await queues.store.purge(queues.account, queues.queue.queueId);
      expect(await queues.store.lastPurge(queues.account, queues.queue.queueId)).toBe(new Date(start).toISOString());
      await queues.send("c");
      expect(queues.readyTexts(queues.pushed().num)).toEqual(["c"]);
      expect((await queues.store.metrics(queues.queue)).backlogCount).toBe(1);
    });

    test("can be looked at and removed one by one", async () => {
      await queues.send("a", "b", "c");
      const { accountId, queueId } = queues.queue;
      const seen = await queues.store.peek(accountId, queueId, 2);
      expect(seen.map(({ body }) => Buffer.from(body).toString())).toEqual(["a", "b"]);
      const refs = [seen[1]?.ref ?? "", "12.0123", `7.${"0".repeat(32)}`];
      expect(await queues.store.remove(accountId, queueId, refs)).toEqual({ unknown: refs.slice(1) });
      const left = await queues.store.peek(accountId, queueId, 10);
      expect(left.map(({ body }) => Buffer.from(body).toString())).toEqual(["a", "c"]);
    });

    test("move to another queue of the account, but those that somebody has just now stay", async () => {
      await queues.send("a", "b", "c");
      const { accountId, queueId } = queues.queue;
      const { num } = await queues.consume();
      const [first] = queues.push.ready(num, 1);
      queues.push.claim(num, [first?.row ?? 0]);
      const target = await queues.create("target");
      const move = async (max: number) => queues.store.move(accountId, queueId, { queueId: target.id, max });
      expect([await move(1), await move(10), await move(10)]).toEqual([{ moved: 1 }, { moved: 1 }, { moved: 0 }]);
      queues.push.release(num, [first?.row ?? 0]);
      const texts = async (id: string) =>
        (await queues.store.peek(accountId, id, 10)).map(({ body }) => Buffer.from(body).toString());
      expect([await texts(queueId), await texts(target.id)]).toEqual([["a"], ["b", "c"]]);
      const counts = [queueId, target.id].map(async (id) => queues.store.metrics({ accountId, queueId: id }));
      expect((await Promise.all(counts)).map(({ backlogCount }) => backlogCount)).toEqual([1, 2]);
      await expect(queues.store.move(accountId, queueId, { queueId, max: 1 })).rejects.toThrow(/is the queue itself/);
      await expect(queues.store.move(queues.rival, queueId, { queueId: target.id, max: 1 })).rejects.toThrow();
    });
  });
}
