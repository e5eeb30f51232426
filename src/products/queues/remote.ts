import { buffer } from "node:stream/consumers";
import type { StoreClient, StoreMethods } from "#http/store-rpc.ts";
import type { NewMessage, PeekedMessage, PulledMessage, QueueStore } from "#products/queues/store.ts";

/** Under which name the store process offers queues. */
const storeName = "queues";

type Sent<M extends { body: Uint8Array }> = Omit<M, "body"> & { bytes: number };

/** The store of another process. Bodies of messages follow one another in the body of a call or an answer. */
export function remoteQueueStore(client: StoreClient): QueueStore {
  const ask = async <T>(method: string, ...args: unknown[]): Promise<T> => {
    const { value, body } = await client.call(storeName, method, args);
    await buffer(body);
    return value as T;
  };
  const tell = async (method: string, ...args: unknown[]): Promise<void> => {
    await ask(method, ...args);
  };
  return {
    list: (accountId, filter = {}) => ask("list", accountId, filter),
    get: (...args) => ask("get", ...args),
    create: (...args) => ask("create", ...args),
    update: (...args) => ask("update", ...args),
    delete: (...args) => tell("delete", ...args),
    addConsumer: (...args) => ask("addConsumer", ...args),
    updateConsumer: (...args) => ask("updateConsumer", ...args),
    removeConsumer: (...args) => tell("removeConsumer", ...args),
    removeConsumersOf: (...args) => tell("removeConsumersOf", ...args),
    async send(queue, messages) {
      const args = [queue, messages.map(withoutBody)];
      const { value, body } = await client.call(storeName, "send", args, { body: joined(messages) });
      await buffer(body);
      return value as Awaited<ReturnType<QueueStore["send"]>>;
    },
    metrics: (...args) => ask("metrics", ...args),
    async pull(...args) {
      const { value, body } = await client.call(storeName, "pull", args);
      const { messages, metrics } = value as Awaited<ReturnType<QueueStore["pull"]>>;
      return {
        metrics,
        messages: withBodies<PulledMessage>(messages as unknown as Sent<PulledMessage>[], await buffer(body)),
      };
    },
    settle: (...args) => ask("settle", ...args),
    async peek(...args) {
      const { value, body } = await client.call(storeName, "peek", args);
      return withBodies<PeekedMessage>(value as Sent<PeekedMessage>[], await buffer(body));
    },
    remove: (...args) => ask("remove", ...args),
    move: (...args) => ask("move", ...args),
    purge: (...args) => tell("purge", ...args),
    lastPurge: async (...args) => (await ask<string | null>("lastPurge", ...args)) ?? undefined,
  };
}

/** What the process with the store answers to `remoteQueueStore`. */
export function queueMethods(store: QueueStore): StoreMethods {
  const passing =
    (name: keyof QueueStore): StoreMethods[string] =>
    async ({ args }) => {
      const run = store[name] as (...args: unknown[]) => Promise<unknown>;
      return { value: (await run.apply(store, args as unknown[])) ?? null };
    };
  const names =
    `list get create update delete addConsumer updateConsumer removeConsumer removeConsumersOf metrics settle remove move
    purge lastPurge`.split(/\s+/) as (keyof QueueStore)[];
  return {
    ...Object.fromEntries(names.map((name) => [name, passing(name)])),
    async send({ args, body }) {
      const [queue, messages] = args as [Parameters<QueueStore["send"]>[0], Sent<NewMessage>[]];
      return { value: await store.send(queue, withBodies<NewMessage>(messages, await buffer(body))) };
    },
    async pull({ args }) {
      const { messages, metrics } = await store.pull(...(args as Parameters<QueueStore["pull"]>));
      return { value: { messages: messages.map(withoutBody), metrics }, body: joined(messages) };
    },
    async peek({ args }) {
      const messages = await store.peek(...(args as Parameters<QueueStore["peek"]>));
      return { value: messages.map(withoutBody), body: joined(messages) };
    },
  };
}

function withoutBody<M extends { body: Uint8Array }>({ body, ...message }: M): Sent<M> {
  return { ...message, bytes: body.length };
}

function withBodies<M extends { body: Uint8Array }>(messages: readonly Sent<M>[], bytes: Buffer): M[] {
  let at = 0;
  return messages.map(({ bytes: size, ...message }) => {
    at += size;
    return { ...message, body: bytes.subarray(at - size, at) } as unknown as M;
  });
}

function joined(messages: readonly { body: Uint8Array }[]): Buffer {
  return Buffer.concat(messages.map(({ body }) => body));
}
