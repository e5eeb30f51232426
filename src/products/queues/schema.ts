import { z } from "zod";

/** A queue. Times are ISO texts. */
export type Queue = {
  id: string;
  accountId: string;
  name: string;
  settings: QueueSettings;
  createdOn: string;
  modifiedOn: string;
  consumers: QueueConsumer[];
};

/** Who takes messages out of a queue: a Worker that is handed them, or whoever pulls them over HTTP. */
export type QueueConsumer = {
  id: string;
  createdOn: string;
  /** Name of the queue that gets what could not be consumed; without one it is dropped. */
  deadLetterQueue: string | undefined;
} & ({ type: "worker"; script: string; settings: WorkerSettings } | { type: "http_pull"; settings: PullSettings });

export type QueueMetrics = {
  backlogCount: number;
  backlogBytes: number;
  /** Milliseconds since 1970; 0 of an empty queue. */
  oldestMessageTimestamp: number;
};

export const contentTypes = ["json", "text", "bytes", "v8"] as const;
export type ContentType = (typeof contentTypes)[number];

/** Cloudflare's limits (https://developers.cloudflare.com/queues/platform/limits/), then our own. */
export const limits = {
  messageBytes: 128_000,
  /** Messages of one batch, sent, delivered or pulled. */
  batchMessages: 100,
  batchBytes: 256_000,
  delaySeconds: 86_400,
  retries: 100,
  batchWaitMs: 60_000,
  concurrency: 250,
  retentionSecondsMin: 60,
  retentionSecondsMax: 1_209_600,
  visibilityMs: 12 * 60 * 60 * 1000,
  queuesPerPage: 100,

  /** Larger bodies have a row of their own: a lease rewrites its message's. */
  rowBytes: 1000,
  /** Bytes of a batch as its sender writes it: base64 of the largest, and what is around it. */
  requestBytes: 1024 * 1024,
  /** Messages that one change moves to another queue, and those that one call moves. */
  movedAtOnce: 500,
  moved: 100_000,
  /** Messages that one step of the clean-up frees; other writes go between the steps. */
  sweepRows: 500,
  sweepEveryMs: 1000,
  /** Room on the disk that is left for acknowledgements: with less, nothing new is taken. */
  reserveBytes: 64 * 1024 * 1024,
  /** A message whose bytes are damaged is looked at again after this time, until its retries are used up. */
  damagedDelaySeconds: 3600,
  /** Deliveries under way hold their messages in memory: past so many bytes no other begins. */
  deliveringBytes: 64 * 1024 * 1024,
  /** Between tries to reach a consumer that cannot be reached. */
  unreachableMsMin: 200,
  unreachableMsMax: 15_000,
} as const;

/** https://developers.cloudflare.com/queues/platform/limits/: names have at most 63 characters. */
export const queueName = /^[a-z0-9]([a-z0-9-_]{0,61}[a-z0-9])?$/i;

const delay = z.number().int().min(0).max(limits.delaySeconds);

const settingShape = {
  delivery_delay: delay,
  delivery_paused: z.boolean(),
  message_retention_period: z.number().int().min(limits.retentionSecondsMin).max(limits.retentionSecondsMax),
};

/** Seconds; defaults as https://developers.cloudflare.com/queues/platform/limits/ gives them. */
export const queueSettings = z.looseObject({
  delivery_delay: settingShape.delivery_delay.default(0),
  delivery_paused: settingShape.delivery_paused.default(false),
  message_retention_period: settingShape.message_retention_period.default(345_600),
});
export type QueueSettings = z.infer<typeof queueSettings>;

/** Some of them: what an update changes. */
export const someSettings = z.looseObject(settingShape).partial();
export type SomeSettings = z.infer<typeof someSettings>;

const batchSize = z.number().int().min(1).max(limits.batchMessages).nullish();
const maxRetries = z.number().int().min(0).max(limits.retries).nullish();

/** https://developers.cloudflare.com/queues/configuration/configure-queues/#consumer-worker-configuration */
export const workerSettings = z
  .looseObject({
    batch_size: batchSize,
    max_retries: maxRetries,
    max_wait_time_ms: z.number().int().min(0).max(limits.batchWaitMs).nullish(),
    max_concurrency: z.number().int().min(1).max(limits.concurrency).nullish(),
    retry_delay: delay.nullish(),
  })
  .transform((given) => ({
    batch_size: given.batch_size ?? 10,
    max_retries: given.max_retries ?? 3,
    max_wait_time_ms: given.max_wait_time_ms ?? 5000,
    max_concurrency: given.max_concurrency ?? null,
    retry_delay: given.retry_delay ?? 0,
  }));
export type WorkerSettings = z.infer<typeof workerSettings>;

export const pullSettings = z
  .looseObject({
    batch_size: batchSize,
    max_retries: maxRetries,
    visibility_timeout_ms: z.number().int().min(0).max(limits.visibilityMs).nullish(),
    retry_delay: delay.nullish(),
  })
  .transform((given) => ({
    batch_size: given.batch_size ?? 10,
    max_retries: given.max_retries ?? 3,
    visibility_timeout_ms: given.visibility_timeout_ms ?? 30_000,
    retry_delay: given.retry_delay ?? 0,
  }));
export type PullSettings = z.infer<typeof pullSettings>;

/** The body that makes a queue, and the one that changes it. Settings are checked apart, since they have an error of their own. */
export const newQueue = z.looseObject({ queue_name: z.string(), settings: z.unknown().optional() });
export const changedQueue = z.looseObject({ queue_name: z.string().optional(), settings: z.unknown().optional() });

/** The body that makes or replaces a consumer. */
export const newConsumer = z.looseObject({
  type: z.string().optional(),
  script_name: z.string().optional(),
  dead_letter_queue: z.string().nullish(),
  settings: z.unknown().optional(),
});

/** https://developers.cloudflare.com/api/resources/queues/subresources/messages/ */
export const pushBody = z.looseObject({
  body: z.unknown().optional(),
  content_type: z.string().nullish(),
  delay_seconds: z.number().nullish(),
});
export const pushBatchBody = z.looseObject({ messages: z.array(pushBody), delay_seconds: z.number().nullish() });
export const pullBody = z.looseObject({
  batch_size: z.number().int().min(1).max(limits.batchMessages).nullish(),
  visibility_timeout_ms: z.number().int().min(0).max(limits.visibilityMs).nullish(),
  /** What `wrangler queues info` prints in its example. */
  visibility_timeout: z.number().int().min(0).max(limits.visibilityMs).nullish(),
});
export const ackBody = z.looseObject({
  acks: z.array(z.looseObject({ lease_id: z.string() })).nullish(),
  retries: z.array(z.looseObject({ lease_id: z.string(), delay_seconds: delay.nullish() })).nullish(),
});
export const peekBody = z.looseObject({ batch_size: z.number().int().min(1).max(limits.batchMessages).nullish() });
export const redriveBody = z.looseObject({
  target_queue_id: z.string().nullish(),
  max_messages: z.number().int().min(1).max(limits.moved).nullish(),
});
export const purgeRefsBody = z.looseObject({ refs: z.array(z.looseObject({ ref: z.string() })).max(1000) });
export const purgeBody = z.looseObject({ delete_messages_permanently: z.boolean().optional() });

/** What a binding sends for several messages (workerd's `src/workerd/api/queue.c++`). */
export const boundBatch = z.looseObject({
  messages: z.array(
    z.looseObject({ body: z.string(), contentType: z.string().nullish(), delaySecs: z.number().nullish() }),
  ),
});
