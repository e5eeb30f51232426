import { ApiError } from "#core/errors.ts";
import { limits } from "#products/queues/schema.ts";

/**
 * Codes 101xx and 102xx: https://developers.cloudflare.com/queues/reference/error-codes/, of messages, by the API and by
 * bindings alike; the text of 10205 as a user quotes it, its neighbours after it. 11xxx, 100127 and 100128 are the API's own.
 */
export const queueErrors = {
  noSource: (names: readonly string[]) =>
    new ApiError(
      400,
      10026,
      names.length === 0
        ? "target_queue_id: no queue has this one as its dead letter queue"
        : `target_queue_id: say which queue is meant, of ${names.join(", ")}`,
    ),
  notFound: () => new ApiError(404, 11000, "The specified queue does not exist."),
  /** Of a message's path, where the table names this code. */
  noQueue: () => new ApiError(404, noQueueCode, "Queue does not exist"),
  nameTaken: (name: string) =>
    new ApiError(409, 11009, `Queue name '${name}' is already taken. Please use a different name and try again.`),
  invalidName: () =>
    new ApiError(400, 11003, "Queue names have letters, digits, hyphens and underscores, and at most 63 characters."),
  /** Seen: `workers.api.error.consumer_exists [code: 11004]`. */
  consumerExists: (queue: string) =>
    new ApiError(
      409,
      11004,
      `workers.api.error.consumer_exists: queue '${queue}' already has a consumer, and a queue has one.`,
    ),
  consumerNotFound: () => new ApiError(404, 11001, "The specified consumer does not exist."),
  /** wrangler has texts of its own for these two codes. */
  invalidConsumer: (why: string) => new ApiError(400, 100127, `Invalid consumer settings: ${why}`),
  invalidSettings: (why: string) => new ApiError(400, 100128, `Invalid queue settings: ${why}`),
  /** Seen, of `wrangler delete`. */
  scriptIsConsumer: () => new ApiError(400, 10064, "script still in use as a consumer for a queue"),
  purgeNotMeant: () => new ApiError(400, 10207, "delete_messages_permanently must be true"),
  notPulled: () =>
    new ApiError(
      405,
      10405,
      "This queue has no http_pull consumer. Add one: wrangler queues consumer http add <queue>.",
    ),

  invalidContentType: (given: string) =>
    new ApiError(
      400,
      10203,
      `message content type ${given} is invalid; if specified, must be one of 'text', 'json', 'bytes', or 'v8'`,
    ),
  invalidDelay: (given: string | number) =>
    new ApiError(
      400,
      10203,
      `message delay ${given} is invalid; it must be between 0 and ${limits.delaySeconds} seconds`,
    ),
  invalidBatchDelay: (given: string | number) =>
    new ApiError(
      400,
      10202,
      `batch delay ${given} is invalid; it must be between 0 and ${limits.delaySeconds} seconds`,
    ),
  messageTooLarge: (bytes: number) =>
    new ApiError(413, 10204, `message length of ${bytes} bytes exceeds limit of ${limits.messageBytes} bytes`),
  batchTooLarge: (bytes: number) =>
    new ApiError(413, 10205, `batch size of ${bytes} bytes exceeds limit of ${limits.batchBytes} bytes`),
  batchTooLong: (count: number) =>
    new ApiError(413, 10206, `batch message count of ${count} exceeds limit of ${limits.batchMessages}`),
  batchEmpty: () => new ApiError(400, 10206, "batch message count of 0 is less than 1"),
  bodyInvalid: (why: string) => new ApiError(400, 10207, why),
  bodyMalformed: () => new ApiError(400, 10208, "Request body is not valid JSON"),
  /** The disk is full: Cloudflare has a limit of its own for a queue. 507 Insufficient Storage, RFC 4918 §11.5. */
  storageFull: () => new ApiError(507, 10251, "Queue storage limit exceeded"),
  noSubscriptions: () =>
    new ApiError(501, 10021, "Event subscriptions are not supported by Solum. docs/COMPATIBILITY.md lists what is."),
};

const noQueueCode = 10104;
