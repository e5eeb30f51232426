import type {
  ContentType,
  Queue,
  QueueConsumer,
  QueueMetrics,
  QueueSettings,
  SomeSettings,
} from "#products/queues/schema.ts";

/** Which queue is meant, and on whose word: an account's own, or the one that a binding's capability names. */
export type QueueRef = { accountId: string; queueId: string } | { boundQueueId: string };

export type NewMessage = {
  body: Uint8Array;
  contentType: ContentType;
  /** The queue's own delay when it is undefined. */
  delaySeconds?: number | undefined;
};

export type StoredMessage = {
  id: string;
  /** Milliseconds since 1970. */
  timestamp: number;
  /** Deliveries, this one among them. */
  attempts: number;
  contentType: ContentType;
  body: Uint8Array;
};

export type PulledMessage = StoredMessage & { leaseId: string };

/** `ref` names it for `remove`. */
export type PeekedMessage = StoredMessage & { ref: string };

/** What becomes of a message that was not acknowledged. */
export type RetryRule = { maxRetries: number; deadLetterQueue: string | undefined };

export type WorkerConsumer = Extract<QueueConsumer, { type: "worker" }>;
type PullConsumer = Extract<QueueConsumer, { type: "http_pull" }>;
export type NewConsumer = Omit<WorkerConsumer, "id" | "createdOn"> | Omit<PullConsumer, "id" | "createdOn">;

/**
 * Queues and their messages. A message is answered for when it is on disk, and gone when its acknowledgement is. Whatever
 * takes an account treats what another account owns as absent.
 */
export interface QueueStore {
  list(accountId: string, filter?: { names?: readonly string[] }): Promise<Queue[]>;
  get(accountId: string, id: string): Promise<Queue>;
  create(accountId: string, queue: { name: string; settings: QueueSettings }): Promise<Queue>;
  update(accountId: string, id: string, change: { name?: string | undefined; settings: SomeSettings }): Promise<Queue>;
  /** The queue, its consumers and its messages are gone at once; the room they took is freed afterwards. */
  delete(accountId: string, id: string): Promise<void>;

  /** Refused when the queue has one already. Makes the dead letter queue when there is none of that name. */
  addConsumer(accountId: string, queueId: string, consumer: NewConsumer): Promise<QueueConsumer>;
  updateConsumer(accountId: string, queueId: string, consumerId: string, consumer: NewConsumer): Promise<QueueConsumer>;
  removeConsumer(accountId: string, queueId: string, consumerId: string): Promise<void>;
  /** Of a Worker that is deleted. */
  removeConsumersOf(accountId: string, script: string): Promise<void>;

  /** Takes all messages or none. */
  send(queue: QueueRef, messages: readonly NewMessage[]): Promise<QueueMetrics>;
  metrics(queue: QueueRef): Promise<QueueMetrics>;
  /** Leases messages: until `visibilityMs` is over, or they are given back, nobody else gets them. */
  pull(
    accountId: string,
    queueId: string,
    options: { batchSize?: number | undefined; visibilityMs?: number | undefined },
  ): Promise<{ messages: PulledMessage[]; metrics: QueueMetrics }>;
  /** Settles leases. One that is over, or that nobody has, is counted in neither and named in `unknown`. */
  settle(
    accountId: string,
    queueId: string,
    leases: { acks: readonly string[]; retries: readonly { leaseId: string; delaySeconds?: number | undefined }[] },
  ): Promise<{ acked: number; retried: number; unknown: string[] }>;
  /** The messages that would be delivered next, those that wait for their time after them; nothing changes. */
  peek(accountId: string, queueId: string, batchSize: number): Promise<PeekedMessage[]>;
  remove(accountId: string, queueId: string, refs: readonly string[]): Promise<{ unknown: string[] }>;
  /**
   * Moves up to `max` messages that nobody has just now to another queue of the account, the first to come first: how many.
   * Those that go are in one queue or the other at any time, never in both.
   */
  move(accountId: string, queueId: string, to: { queueId: string; max: number }): Promise<{ moved: number }>;
  purge(accountId: string, queueId: string): Promise<void>;
  /** When the last purge was, ISO time. */
  lastPurge(accountId: string, queueId: string): Promise<string | undefined>;
}

/** A queue that a Worker consumes, as its dispatcher sees it. */
export type PushQueue = {
  /** Changes with a purge. */
  num: number;
  name: string;
  accountId: string;
  paused: boolean;
  consumer: WorkerConsumer;
};

/** A message that is being delivered. */
export type Claimed = StoredMessage & { row: number };

/** What the dispatcher of push consumers needs besides; it runs where the store is. */
export interface PushStore {
  /** Milliseconds since 1970. */
  now(): number;
  pushQueues(): PushQueue[];
  /** Up to `max` messages whose time has come and that nobody has, the first to come first. */
  ready(num: number, max: number): { row: number; visibleAt: number }[];
  /** When the next message's time comes; undefined when none waits. */
  nextVisibleAt(num: number): number | undefined;
  /** Keeps messages from everybody else, until `release`. Only in memory: if this process ends, they are ready again. */
  claim(num: number, rows: readonly number[]): void;
  release(num: number, rows: readonly number[]): void;
  /** The messages of these rows that are still there, damaged ones apart. */
  read(num: number, rows: readonly number[]): { messages: Claimed[]; damaged: number[] };
  metricsOf(num: number): QueueMetrics;
  /** Acknowledges and puts off. Resolves when it is on disk. */
  finish(
    num: number,
    result: { acks: readonly number[]; retries: readonly { row: number; delaySeconds: number }[]; rule: RetryRule },
  ): Promise<void>;
  /** Calls `listener` when a queue has more to deliver (its number), or queues and consumers have changed. */
  onChange(listener: (num: number | undefined) => void): void;
}
