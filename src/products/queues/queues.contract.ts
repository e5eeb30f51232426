import { describe, expect, test } from "vitest";
import { failure, message, puller, worker, type QueueSuite } from "#products/queues/suite.contract.ts";

/** Queues and their consumers, and who may see them. */
export function queuesContract(queues: QueueSuite): void {
  describe("queues", () => {
    test("are made, read, listed, changed and deleted", async () => {
      const made = await queues.create("second", { delivery_delay: 7 });
      expect(made).toMatchObject({
        name: "second",
        consumers: [],
        settings: { delivery_delay: 7, delivery_paused: false, message_retention_period: 345_600 },
      });
      const names = async (filter?: { names: string[] }) =>
        (await queues.store.list(queues.account, filter)).map(({ name }) => name);
      expect(await names()).toEqual(["main", "second"]);
      expect(await names({ names: ["second", "nothing", "second"] })).toEqual(["second"]);
      const change = { name: "third", settings: { delivery_paused: true } };
      expect(await queues.store.update(queues.account, made.id, change)).toMatchObject({
        name: "third",
        settings: { delivery_delay: 7, delivery_paused: true },
      });
      await queues.store.delete(queues.account, made.id);
      await expect(queues.store.get(queues.account, made.id)).rejects.toThrow(failure(404, 11000));
    });

    test("have names that fit and are unique in an account", async () => {
      await expect(queues.create("main")).rejects.toThrow(failure(409, 11009));
      for (const bad of ["", "-a", "a b", "a/b", "x".repeat(64)])
        await expect(queues.create(bad)).rejects.toThrow(failure(400, 11003));
      const { id } = await queues.create("other");
      await expect(queues.store.update(queues.account, id, { name: "main", settings: {} })).rejects.toThrow(
        failure(409, 11009),
      );
    });

    test("of another account do not exist, whatever is asked", async () => {
      const { store } = queues;
      await queues.send("a");
      const { id: consumerId } = await store.addConsumer(queues.account, queues.queue.queueId, puller());
      const { queueId: id } = queues.queue;
      const them = queues.rival;
      const attempts: (() => Promise<unknown>)[] = [
        () => store.get(them, id),
        () => store.update(them, id, { settings: {} }),
        () => store.delete(them, id),
        () => store.addConsumer(them, id, worker()),
        () => store.updateConsumer(them, id, consumerId, puller()),
        () => store.removeConsumer(them, id, consumerId),
        () => store.pull(them, id, {}),
        () => store.settle(them, id, { acks: [], retries: [] }),
        () => store.peek(them, id, 1),
        () => store.remove(them, id, []),
        () => store.purge(them, id),
        () => store.lastPurge(them, id),
      ];
      for (const attempt of attempts) await expect(attempt()).rejects.toThrow(failure(404, 11000));
      const ref = { accountId: them, queueId: id };
      await expect(store.send(ref, [message("x")])).rejects.toThrow(failure(404, 10104));
      await expect(store.metrics(ref)).rejects.toThrow(failure(404, 10104));
      expect((await store.metrics(queues.queue)).backlogCount).toBe(1);
    });
  });

  describe("consumers", () => {
    test("are one Worker and one that pulls, and a second of a kind is refused", async () => {
      const { store, queue } = queues;
      const add = (consumer: Parameters<typeof store.addConsumer>[2]) =>
        store.addConsumer(queue.accountId, queue.queueId, consumer);
      const made = await add(worker({ batch_size: 3 }));
      expect(made).toMatchObject({
        script: "consumer",
        settings: { batch_size: 3, max_retries: 3, max_wait_time_ms: 5000, max_concurrency: null, retry_delay: 0 },
      });
      await expect(add(worker())).rejects.toThrow(failure(409, 11004));
      await add(puller());
      await expect(add(puller())).rejects.toThrow(failure(409, 11004));
      const changed = await store.updateConsumer(queue.accountId, queue.queueId, made.id, worker({ batch_size: 4 }));
      expect(changed).toMatchObject({ id: made.id, settings: { batch_size: 4 } });
      const { consumers } = await store.get(queue.accountId, queue.queueId);
      expect(consumers.map(({ type }) => type)).toEqual(["http_pull", "worker"]);
      await store.removeConsumer(queue.accountId, queue.queueId, made.id);
      await expect(store.removeConsumer(queue.accountId, queue.queueId, made.id)).rejects.toThrow(failure(404, 11001));
    });

    test("have a dead letter queue that is made when there is none, and is not the queue itself", async () => {
      const { store, queue } = queues;
      await store.addConsumer(queue.accountId, queue.queueId, worker({}, "graveyard"));
      expect((await store.list(queues.account)).map(({ name }) => name)).toEqual(["graveyard", "main"]);
      await expect(store.addConsumer(queue.accountId, queue.queueId, puller({}, "main"))).rejects.toThrow(
        failure(400, 100127),
      );
    });

    test("go with their Worker", async () => {
      await queues.consume();
      await queues.store.removeConsumersOf(queues.rival, "consumer");
      expect(queues.pushed().consumer.script).toBe("consumer");
      await queues.store.removeConsumersOf(queues.account, "consumer");
      expect((await queues.store.get(queues.account, queues.queue.queueId)).consumers).toEqual([]);
    });
  });
}
