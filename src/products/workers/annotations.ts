import { workerErrors } from "#products/workers/errors.ts";
import { limits } from "#products/workers/schema.ts";

/**
 * What a client says about a version or a deployment: entries that say something (wrangler sends null for those that do
 * not), bounded as the API documents it. Who or what triggered it is not for a client to say.
 */
export function givenAnnotations(raw: Record<string, string | null | undefined>): Record<string, string> {
  const entries = Object.entries(raw).flatMap(([key, value]) =>
    value && key !== "workers/triggered_by" ? [[key, bounded(key, value)] as const] : [],
  );
  if (entries.length > limits.annotations)
    throw workerErrors.invalidUpload(`There are more than ${limits.annotations} annotations.`);
  return Object.fromEntries(entries);
}

function bounded(key: string, value: string): string {
  if (key === "workers/tag" && Buffer.byteLength(value) > limits.tagBytes)
    throw workerErrors.invalidUpload(`The tag is longer than ${limits.tagBytes} bytes.`);
  if (Buffer.byteLength(key) > limits.tagBytes)
    throw workerErrors.invalidUpload(`The name of an annotation is longer than ${limits.tagBytes} bytes.`);
  const bytes = Buffer.from(value).subarray(0, limits.messageBytes);
  // A character that was cut in two becomes nothing.
  return bytes.toString("utf8").replace(/\ufffd$/, "");
}
