import type { Answer } from "#products/ai-gateway/attempts.ts";
import { limits, type UsageMetadata } from "#products/ai-gateway/schema.ts";
import type { Usage } from "#products/ai-gateway/usage.ts";

/** How an answer ended: what it used and cost, and what was captured of it. */
export type Ending = {
  answer: Answer | undefined;
  /** It came whole. */
  complete: boolean;
  /** The provider said in its answer that it failed. */
  failed: boolean;
  /** Everybody left before it was whole. */
  cancelled: boolean;
  usage: Usage | undefined;
  estimated: boolean;
  model: string | undefined;
  costNano: number | null;
  capture: Capture;
};

/** The beginning of what went by. */
export class Capture {
  bytes = 0;
  readonly #pieces: Buffer[] = [];
  #kept = 0;

  push(piece: Buffer): void {
    this.bytes += piece.length;
    if (this.#kept >= limits.loggedBytes) return;
    this.#pieces.push(piece);
    this.#kept += piece.length;
  }

  head(): { bytes: Uint8Array; complete: boolean } {
    return headOf(Buffer.concat(this.#pieces));
  }
}

/** Token counts, as a log shows them. */
export function usageMetadata(usage: Usage | undefined, estimated: boolean): UsageMetadata | null {
  if (!usage) return null;
  return {
    input_tokens: usage.input,
    output_tokens: usage.output,
    total_tokens: usage.input + usage.output,
    output_reasoning_tokens: usage.reasoning,
    input_cached_tokens: usage.cacheRead,
    ...(estimated ? { estimated: true } : {}),
  };
}

/** What a log keeps: not more than a bound, and never half a character. */
export function headOf(bytes: Buffer): { bytes: Uint8Array; complete: boolean } {
  if (bytes.length <= limits.loggedBytes) return { bytes, complete: true };
  let end: number = limits.loggedBytes;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return { bytes: bytes.subarray(0, end), complete: false };
}
