import { limits } from "#products/kv/schema.ts";
import type { KvBytes, KvInfo, KvSpace, KvStore } from "#products/kv/store.ts";

/** What a location reads, and whether it had that cached. */
export type EdgeRead = { value: (KvInfo & { body: KvBytes }) | undefined; cached: boolean };

/** One place that Workers run at, as far as namespaces with `edge` consistency know. */
export interface EdgeLocation {
  /** As Cloudflare reads: what is cached until it is `ttlSeconds` old, and that a key is missing as well. */
  get(space: KvSpace, key: string, ttlSeconds?: number): Promise<EdgeRead>;
  getMany(space: KvSpace, keys: readonly string[], ttlSeconds?: number): ReturnType<KvStore["getMany"]>;
  /** This location has written `key`: its own next read sees that. */
  wrote(space: KvSpace, key: string): void;
}

type Entry = { value: (KvInfo & { body: Uint8Array }) | undefined; atMs: number; ttlSeconds: number };

/**
 * Cloudflare's eventual consistency, kept per location: reads may be up to their `cacheTtl` old, absence included, while a
 * location sees its own writes at once (https://developers.cloudflare.com/kv/concepts/how-kv-works/). A Worker is a location
 * of its own here, the API none. Lists and values above `limits.inlineBytes`, which nobody holds in memory, are always current.
 */
export class EdgeCache {
  readonly #store: Pick<KvStore, "get" | "getMany">;
  readonly #nowMs: () => number;
  /** In the order of their reading: the oldest goes first. */
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  constructor(store: Pick<KvStore, "get" | "getMany">, nowMs: () => number = Date.now) {
    this.#store = store;
    this.#nowMs = nowMs;
  }

  /** `name` tells one location from another. */
  location(name: string): EdgeLocation {
    const idOf = (space: KvSpace, key: string) =>
      `${name}/${"boundNamespaceId" in space ? space.boundNamespaceId : space.namespaceId}/${key}`;
    return {
      get: async (space, key, ttlSeconds = limits.cacheTtlSeconds) => {
        const id = idOf(space, key);
        const entry = this.#fresh(id, ttlSeconds);
        if (entry) return { value: entry.value, cached: true };
        const value = await this.#store.get(space, key);
        const { body } = value ?? {};
        if (!value || !body) this.#keep(id, undefined, ttlSeconds);
        else if (body instanceof Uint8Array) this.#keep(id, { ...value, body }, ttlSeconds);
        return { value, cached: false };
      },
      getMany: async (space, keys, ttlSeconds = limits.cacheTtlSeconds) => {
        const entries = keys.map((key) => this.#fresh(idOf(space, key), ttlSeconds));
        const missing = keys.filter((_, index) => !entries[index]);
        // One that has every key cached is still held to what a bulk get may ask for.
        const read = missing.length > 0 || keys.length === 0 ? await this.#store.getMany(space, missing) : [];
        for (const [index, key] of missing.entries()) this.#keep(idOf(space, key), read[index], ttlSeconds);
        let next = 0;
        return entries.map((entry) => (entry ? entry.value : read[next++]));
      },
      wrote: (space, key) => this.#forget(idOf(space, key)),
    };
  }

  /** What is cached, unless it is older than both its own reader and this one allow, or its time is over. */
  #fresh(id: string, ttlSeconds: number): Entry | undefined {
    const entry = this.#entries.get(id);
    if (!entry) return undefined;
    const now = this.#nowMs();
    const until = entry.atMs + Math.min(entry.ttlSeconds, ttlSeconds) * 1000;
    if (now < entry.atMs || now >= until) return undefined;
    const { expiration } = entry.value ?? {};
    return expiration !== undefined && expiration <= Math.floor(now / 1000) ? { ...entry, value: undefined } : entry;
  }

  #keep(id: string, value: Entry["value"], ttlSeconds: number): void {
    this.#forget(id);
    if (value && value.body.length > limits.inlineBytes) return;
    this.#entries.set(id, { value, atMs: this.#nowMs(), ttlSeconds });
    this.#bytes += value?.body.length ?? 0;
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= limits.edgeKeys && this.#bytes <= limits.edgeBytes) break;
      this.#forget(oldest);
    }
  }

  #forget(id: string): void {
    const entry = this.#entries.get(id);
    if (!entry) return;
    this.#entries.delete(id);
    this.#bytes -= entry.value?.body.length ?? 0;
  }
}
