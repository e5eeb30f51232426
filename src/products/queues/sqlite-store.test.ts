import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { storeClient, storeHandler } from "#http/store-rpc.ts";
import { createWireServer } from "#http/wire/server.ts";
import { queueMethods, remoteQueueStore } from "#products/queues/remote.ts";
import { openQueueStore } from "#products/queues/sqlite-store.ts";
import { queueStoreContract } from "#products/queues/store.contract.ts";
import { queueSettings, workerSettings } from "#products/queues/schema.ts";

queueStoreContract("the SQLite store", async (now) => {
  const folder = await mkdtemp(join(tmpdir(), "solum-queues-"));
  const store = await openQueueStore({ file: join(folder, "queues.db"), now });
  return {
    store,
    async close() {
      await store[Symbol.asyncDispose]();
      await rm(folder, { recursive: true });
    },
  };
});

queueStoreContract("the store of another process", async (now) => {
  const folder = await mkdtemp(join(tmpdir(), "solum-queues-"));
  const store = await openQueueStore({ file: join(folder, "queues.db"), now });
  const server = createWireServer(storeHandler({ queues: queueMethods(store) }));
  await server.listen(join(folder, "s"));
  return {
    store: { ...remoteQueueStore(storeClient(join(folder, "s"))), push: store.push },
    async close() {
      await server.close();
      await store[Symbol.asyncDispose]();
      await rm(folder, { recursive: true });
    },
  };
});

test("a message whose bytes were changed on disk is not handed out", async () => {
  const folder = await mkdtemp(join(tmpdir(), "solum-queues-"));
  const file = join(folder, "queues.db");
  const open = () => openQueueStore({ file });
  let queueId: string;
  {
    await using store = await open();
    ({ id: queueId } = await store.create("acme", { name: "main", settings: queueSettings.parse({}) }));
    await store.addConsumer("acme", queueId, {
      type: "worker",
      script: "w",
      settings: workerSettings.parse({}),
      deadLetterQueue: undefined,
    });
    for (const text of ["good", "bad"])
      await store.send({ boundQueueId: queueId }, [{ body: Buffer.from(text), contentType: "text" }]);
  }
  const db = new DatabaseSync(file);
  db.exec("UPDATE queue_messages SET body = x'626164ff' WHERE body = x'626164'");
  db.close();
  {
    await using store = await open();
    const [queue] = store.push.pushQueues();
    const num = queue?.num ?? 0;
    const rows = store.push.ready(num, 10).map(({ row }) => row);
    const { messages, damaged } = store.push.read(num, rows);
    expect(messages.map(({ body }) => Buffer.from(body).toString())).toEqual(["good"]);
    expect(damaged).toEqual(rows.slice(1));
  }
  await rm(folder, { recursive: true });
});
