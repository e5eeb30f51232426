import { queueErrors } from "#products/queues/errors.ts";
import { contentTypes, limits, type ContentType } from "#products/queues/schema.ts";
import type { NewMessage } from "#products/queues/store.ts";

/** Refuses what is too large or too many; answers the bytes of all. */
export function checkMessages(messages: readonly NewMessage[]): number {
  if (messages.length === 0) throw queueErrors.batchEmpty();
  if (messages.length > limits.batchMessages) throw queueErrors.batchTooLong(messages.length);
  let bytes = 0;
  for (const { body } of messages) {
    if (body.length > limits.messageBytes) throw queueErrors.messageTooLarge(body.length);
    bytes += body.length;
  }
  if (messages.length > 1 && bytes > limits.batchBytes) throw queueErrors.batchTooLarge(bytes);
  return bytes;
}

/** `missing`: what a message without a type has. */
export function readContentType(given: string | null | undefined, missing: ContentType): ContentType {
  if (given === null || given === undefined) return missing;
  const type = contentTypes.find((known) => known === given);
  if (!type) throw queueErrors.invalidContentType(given);
  return type;
}

/** Seconds; undefined where nothing is said. */
export function readDelay(given: number | string | null | undefined): number | undefined {
  if (given === null || given === undefined || given === "") return undefined;
  if (!isDelay(Number(given))) throw queueErrors.invalidDelay(given);
  return Number(given);
}

export function readBatchDelay(given: number | string | null | undefined): number | undefined {
  if (given === null || given === undefined || given === "") return undefined;
  if (!isDelay(Number(given))) throw queueErrors.invalidBatchDelay(given);
  return Number(given);
}

function isDelay(seconds: number): boolean {
  return Number.isInteger(seconds) && seconds >= 0 && seconds <= limits.delaySeconds;
}
