import { describe, expect, test } from "vitest";
import { start, type QueueSuite } from "#products/queues/suite.contract.ts";

/** What the dispatcher does with messages. */
export function pushContract(queues: QueueSuite): void {
  describe("pushed messages", () => {
    const rowsOf = (num: number) => queues.push.ready(num, 100).map(({ row }) => row);
    const rule = { maxRetries: 1, deadLetterQueue: undefined };

    test("that somebody has are nobody else's until they are released", async () => {
      const { num } = await queues.consume();
      await queues.send("a", "b", "c");
      const [first = 0] = rowsOf(num);
      queues.push.claim(num, [first]);
      expect(queues.readyTexts(num)).toEqual(["b", "c"]);
      expect(queues.readyTexts(num, 1)).toEqual(["b"]);
      queues.push.release(num, [first]);
      expect(queues.readyTexts(num)).toEqual(["a", "b", "c"]);
    });

    test("are gone when they are acknowledged, and wait when they are tried again", async () => {
      const { num } = await queues.consume();
      await queues.send("a", "b", "c");
      const [a = 0, b = 0] = rowsOf(num);
      await queues.push.finish(num, { acks: [a], retries: [{ row: b, delaySeconds: 5 }], rule });
      expect(queues.readyTexts(num)).toEqual(["c"]);
      expect(queues.push.metricsOf(num)).toMatchObject({ backlogCount: 2, backlogBytes: 2 });
      expect(queues.push.nextVisibleAt(num)).toBe(start + 5000);
      queues.now += 5000;
      expect(queues.push.read(num, [b]).messages).toMatchObject([{ attempts: 2, timestamp: start }]);
    });

    test("go to the dead letter queue after their last try, as they were, and it is made when it is gone", async () => {
      const { num } = await queues.consume({}, "graveyard");
      const [graveyard] = await queues.store.list(queues.account, { names: ["graveyard"] });
      await queues.store.delete(queues.account, graveyard?.id ?? "");
      await queues.send("a", "poison");
      const [a = 0, poison = 0] = rowsOf(num);
      const before = queues.push.read(num, [poison]).messages[0];
      const dead = { maxRetries: 1, deadLetterQueue: "graveyard" };
      const told: (number | undefined)[] = [];
      queues.push.onChange((changed) => told.push(changed));
      await queues.push.finish(num, { acks: [a], retries: [{ row: poison, delaySeconds: 0 }], rule: dead });
      expect(queues.readyTexts(num)).toEqual(["poison"]);
      queues.now += 1000;
      await queues.push.finish(num, { acks: [], retries: [{ row: poison, delaySeconds: 0 }], rule: dead });
      expect(queues.readyTexts(num)).toEqual([]);
      const [made] = await queues.store.list(queues.account, { names: ["graveyard"] });
      const moved = await queues.store.peek(queues.account, made?.id ?? "", 10);
      expect(moved).toMatchObject([{ id: before?.id, timestamp: start, attempts: 0 }]);
      expect(Buffer.from(moved[0]?.body ?? []).toString()).toBe("poison");
      expect(told).toHaveLength(1);
      expect(queues.push.metricsOf(num)).toMatchObject({ backlogCount: 0, backlogBytes: 0 });
    });

    test("are dropped after their last try when there is no dead letter queue", async () => {
      const { num } = await queues.consume();
      await queues.send("poison");
      const [row = 0] = rowsOf(num);
      for (let attempt = 0; attempt < 2; attempt++)
        await queues.push.finish(num, { acks: [], retries: [{ row, delaySeconds: 0 }], rule });
      expect(queues.push.metricsOf(num).backlogCount).toBe(0);
    });

    test("of a queue that was purged meanwhile change nothing", async () => {
      const { num } = await queues.consume({}, "graveyard");
      await queues.send("a");
      const rows = rowsOf(num);
      await queues.store.purge(queues.account, queues.queue.queueId);
      const dead = { maxRetries: 0, deadLetterQueue: "graveyard" };
      await queues.push.finish(num, { acks: [], retries: rows.map((row) => ({ row, delaySeconds: 0 })), rule: dead });
      const [graveyard] = await queues.store.list(queues.account, { names: ["graveyard"] });
      expect(await queues.store.peek(queues.account, graveyard?.id ?? "", 1)).toEqual([]);
      expect((await queues.store.metrics(queues.queue)).backlogCount).toBe(0);
    });
  });
}
