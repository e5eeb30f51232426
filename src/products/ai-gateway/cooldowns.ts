import { limits } from "#products/ai-gateway/schema.ts";

/** What is known of providers from their own words: who wants to be left alone until when, who refuses which member. */
export class Cooldowns {
  readonly #until = new Map<string, number>();
  readonly #withoutUsage = new Set<string>();

  /** A fallback is asked instead while this lasts; without one the provider is asked all the same. */
  cool(place: string, ms: number): void {
    if (this.#until.size > originsMax) this.#until.clear();
    this.#until.set(place, performance.now() + Math.min(ms, limits.cooldownMsMax));
  }

  isCooling(place: string): boolean {
    return (this.#until.get(place) ?? 0) > performance.now();
  }

  /** `origin` refuses requests that ask for token counts. */
  refuseUsage(origin: string): void {
    if (this.#withoutUsage.size > originsMax) this.#withoutUsage.clear();
    this.#withoutUsage.add(origin);
  }

  refusesUsage(origin: string): boolean {
    return this.#withoutUsage.has(origin);
  }
}

const originsMax = 10_000;
