import { describe, expect, test } from "vitest";
import { failure, puller, type QueueSuite } from "#products/queues/suite.contract.ts";

/** Messages that are pulled over HTTP: leases. */
export function pullContract(queues: QueueSuite): void {
  describe("pulled messages", () => {
    const consume = async (settings: object = {}, deadLetterQueue?: string) =>
      queues.store.addConsumer(queues.account, queues.queue.queueId, puller(settings, deadLetterQueue));
    const pull = async (options: { batchSize?: number; visibilityMs?: number } = {}) =>
      (await queues.store.pull(queues.account, queues.queue.queueId, options)).messages;
    const settle = (acks: string[], retries: { leaseId: string; delaySeconds?: number }[] = []) =>
      queues.store.settle(queues.account, queues.queue.queueId, { acks, retries });

    test("need a consumer that pulls", async () => {
      await expect(pull()).rejects.toThrow(failure(405, 10405));
    });

    test("are leased for a time, and come back when that is over", async () => {
      await consume({ visibility_timeout_ms: 10_000, batch_size: 2 });
      await queues.send("a", "b", "c");
      const first = await pull();
      expect(first).toMatchObject([{ attempts: 1 }, { attempts: 1 }]);
      expect(await pull({ batchSize: 100 })).toHaveLength(1);
      expect(await pull()).toEqual([]);
      expect(await settle([first[0]?.leaseId ?? ""])).toEqual({ acked: 1, retried: 0, unknown: [] });
      queues.now += 10_000;
      const again = await pull();
      expect(again.map(({ id, attempts }) => [id, attempts])[0]).toEqual([first[1]?.id, 2]);
      // The first lease is over, and says nothing about the second.
      const old = first[1]?.leaseId ?? "";
      expect(await settle([old])).toEqual({ acked: 0, retried: 0, unknown: [old] });
      expect((await queues.store.metrics(queues.queue)).backlogCount).toBe(2);
    });

    test("that are given back come again after their delay, and end in the dead letter queue", async () => {
      await consume({ max_retries: 1, retry_delay: 3 }, "graveyard");
      await queues.send("poison");
      const lease = async () => (await pull())[0]?.leaseId ?? "none";
      expect(await settle([], [{ leaseId: await lease() }])).toMatchObject({ retried: 1 });
      expect(await pull()).toEqual([]);
      queues.now += 3000;
      await settle([], [{ leaseId: await lease(), delaySeconds: 0 }]);
      expect(await pull()).toEqual([]);
      const [graveyard] = await queues.store.list(queues.account, { names: ["graveyard"] });
      expect(await queues.store.peek(queues.account, graveyard?.id ?? "", 1)).toHaveLength(1);
    });

    test("whose leases only run out end there as well", async () => {
      await consume({ max_retries: 1, visibility_timeout_ms: 1000 }, "graveyard");
      await queues.send("poison");
      for (const found of [1, 1, 0]) {
        expect(await pull()).toHaveLength(found);
        queues.now += 1000;
      }
      const [graveyard] = await queues.store.list(queues.account, { names: ["graveyard"] });
      expect(await queues.store.peek(queues.account, graveyard?.id ?? "", 1)).toHaveLength(1);
    });

    test("are not given out while delivery is paused, nor while a push consumer has them", async () => {
      await consume();
      const { num } = await queues.consume();
      await queues.send("a", "b");
      const settings = (paused: boolean) =>
        queues.store.update(queues.account, queues.queue.queueId, { settings: { delivery_paused: paused } });
      await settings(true);
      expect(await pull()).toEqual([]);
      await settings(false);
      queues.push.claim(
        num,
        queues.push.ready(num, 1).map(({ row }) => row),
      );
      expect((await pull()).map(({ body }) => Buffer.from(body).toString())).toEqual(["b"]);
    });

    test("go to one only of many who pull at once", async () => {
      await consume({ batch_size: 5 });
      for (let n = 0; n < 10; n++) await queues.send(...Array.from({ length: 10 }, (_, at) => `${n}-${at}`));
      const pulled = (await Promise.all(Array.from({ length: 30 }, () => pull()))).flat();
      expect(new Set(pulled.map(({ id }) => id)).size).toBe(100);
      expect(pulled).toHaveLength(100);
    });
  });
}
