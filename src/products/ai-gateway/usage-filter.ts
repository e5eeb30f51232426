import { parseData } from "#products/ai-gateway/meter.ts";
import { limits } from "#products/ai-gateway/schema.ts";
import { isObject } from "#products/ai-gateway/usage.ts";

const usageMark = Buffer.from('"usage"');
const newline = 10;

/**
 * A stream of OpenAI's events without the one that holds only token counts, which the caller did not ask for. Whole events are
 * passed on as soon as they are whole; an event that is still coming waits, since nobody could use its first half.
 */
export async function* withoutUsageEvent(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let carry: Buffer = Buffer.alloc(0);
  for await (const piece of body) {
    const bytes = carry.length === 0 ? piece : Buffer.concat([carry, piece]);
    const end = lastEventEnd(bytes);
    // An event this long is no count of tokens.
    const passes = end === 0 && bytes.length > limits.eventBytes ? bytes.length : end;
    carry = bytes.subarray(passes);
    if (passes === 0) continue;
    const whole = bytes.subarray(0, passes);
    const kept = whole.includes(usageMark) ? withoutUsageIn(whole) : whole;
    if (kept.length > 0) yield kept;
  }
  if (carry.length > 0) yield carry;
}

/** Index just past the last blank line. */
function lastEventEnd(bytes: Buffer): number {
  for (let at = bytes.lastIndexOf(newline); at > 0; at = bytes.lastIndexOf(newline, at - 1)) {
    const before = bytes[at - 1] === 13 ? at - 2 : at - 1;
    if (bytes[before] === newline) return at + 1;
  }
  return 0;
}

function withoutUsageIn(bytes: Buffer): Buffer {
  const events = bytes.toString("latin1").split(/(?<=\n\r?\n)/);
  const kept = events.filter((event) => !isUsageOnly(Buffer.from(event, "latin1")));
  return kept.length === events.length ? bytes : Buffer.from(kept.join(""), "latin1");
}

function isUsageOnly(event: Buffer): boolean {
  if (!event.includes(usageMark)) return false;
  const from = event.indexOf("data:");
  const message = from < 0 ? undefined : parseData(event.subarray(from));
  return (
    isObject(message) &&
    Array.isArray(message["choices"]) &&
    message["choices"].length === 0 &&
    isObject(message["usage"])
  );
}
