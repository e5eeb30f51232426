import { beforeEach, expect } from "vitest";
import { ApiError } from "#core/errors.ts";
import { newHexId } from "#core/ids.ts";
import { pullSettings, queueSettings, workerSettings, type Queue } from "#products/queues/schema.ts";
import type { NewConsumer, NewMessage, PushQueue, PushStore, QueueStore } from "#products/queues/store.ts";

/** When every test begins, in milliseconds since 1970. */
export const start = 1_800_000_000_000;

export type OpenedQueues = { store: QueueStore & { push: PushStore }; close: () => Promise<void> };

/** The store under test, shared by the tests of a suite, and what each of them has for itself. */
export class QueueSuite {
  /** The store's clock; a test moves it as it likes. */
  now = start;
  account = "";
  rival = "";
  /** A queue of `account`, empty at first. */
  queue: { accountId: string; queueId: string } = { accountId: "", queueId: "" };
  #opened: OpenedQueues | undefined;

  get store(): QueueStore {
    return this.#open.store;
  }

  get push(): PushStore {
    return this.#open.store.push;
  }

  get #open(): OpenedQueues {
    if (!this.#opened) throw new Error("the store is not open");
    return this.#opened;
  }

  async open(open: (now: () => number) => Promise<OpenedQueues>): Promise<void> {
    this.#opened = await open(() => this.now);
  }

  async close(): Promise<void> {
    await this.#opened?.close();
  }

  /** To be called once in a suite. */
  freshForEachTest(): void {
    beforeEach(async () => {
      this.now = start;
      this.account = newHexId();
      this.rival = newHexId();
      const { id } = await this.create("main");
      this.queue = { accountId: this.account, queueId: id };
    });
  }

  async create(name: string, settings: object = {}): Promise<Queue> {
    return this.store.create(this.account, { name, settings: queueSettings.parse(settings) });
  }

  async send(...texts: string[]): Promise<void> {
    await this.store.send(this.queue, texts.map(message));
  }

  /** Gives the queue a consumer; `more` are settings of it. */
  async consume(more: object = {}, deadLetterQueue?: string): Promise<PushQueue> {
    const { accountId, queueId } = this.queue;
    await this.store.addConsumer(accountId, queueId, worker(more, deadLetterQueue));
    return this.pushed();
  }

  pushed(): PushQueue {
    const found = this.push.pushQueues().find(({ accountId }) => accountId === this.account);
    if (!found) throw new Error("the queue has no consumer");
    return found;
  }

  /** Texts of what could be delivered now. */
  readyTexts(num: number, max = 100): string[] {
    const rows = this.push.ready(num, max).map(({ row }) => row);
    return this.push.read(num, rows).messages.map(({ body }) => Buffer.from(body).toString());
  }
}

export function message(text: string): NewMessage {
  return { body: Buffer.from(text), contentType: "text" };
}

export function worker(settings: object = {}, deadLetterQueue?: string): NewConsumer {
  return { type: "worker", script: "consumer", settings: workerSettings.parse(settings), deadLetterQueue };
}

export function puller(settings: object = {}, deadLetterQueue?: string): NewConsumer {
  return { type: "http_pull", settings: pullSettings.parse(settings), deadLetterQueue };
}

/** Matches an ApiError with this status and code, and this text if one is given. */
export function failure(status: number, code: number, text?: string): Error {
  return expect.toSatisfy(
    (error: unknown) =>
      error instanceof ApiError &&
      error.status === status &&
      error.code === code &&
      (text === undefined || error.message === text),
    `a refusal with ${status} and ${code}`,
  ) as Error;
}
