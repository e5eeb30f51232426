import { gatewayErrors } from "#products/ai-gateway/errors.ts";
import type { Gateway } from "#products/ai-gateway/schema.ts";

/** Requests of one window; a sliding one remembers when each came. */
type Window = { start: number; count: number; times: number[] };

const windowsMax = 50_000;

/**
 * Requests per time, exactly: one process counts for all. A fixed window stands on the clock, as on Cloudflare; a sliding one
 * holds precisely the last seconds, where Cloudflare weighs two windows.
 */
export class RateLimiter {
  readonly #windows = new Map<string, Window>();

  /** Counts a request of a gateway; throws when it is one too many. */
  admit({ accountId, id, settings }: Gateway): void {
    const {
      rate_limiting_limit: limit,
      rate_limiting_interval: seconds,
      rate_limiting_technique: technique,
    } = settings;
    if (!limit || !seconds) return;
    const allowed = this.takes(`${accountId}/${id}`, {
      limit,
      windowMs: seconds * 1000,
      sliding: technique === "sliding",
    });
    if (!allowed) throw gatewayErrors.rateLimited();
  }

  /** Whether one more fits; counted only when it does. */
  takes(key: string, rule: { limit: number; windowMs: number; sliding: boolean }, now = Date.now()): boolean {
    const { limit, windowMs, sliding } = rule;
    const start = sliding ? now : now - (now % windowMs);
    let window = this.#windows.get(key);
    if (!window || (!sliding && window.start !== start)) {
      if (this.#windows.size >= windowsMax) this.#windows.clear();
      window = { start, count: 0, times: [] };
      this.#windows.set(key, window);
    }
    if (sliding) {
      const since = window.times.findIndex((time) => time > now - windowMs);
      window.times.splice(0, since < 0 ? window.times.length : since);
      window.count = window.times.length;
    }
    if (window.count >= limit) return false;
    window.count++;
    if (sliding) window.times.push(now);
    return true;
  }
}
