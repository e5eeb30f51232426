import { createLogger } from "#core/log.ts";
import { exactBytes, type Database } from "#db/database.ts";
import { cacheWrites, type Use } from "#products/ai-gateway/cache-writes.ts";
import { sha256 } from "#products/ai-gateway/call.ts";
import type { CallOptions } from "#products/ai-gateway/call.ts";
import { limits, type Gateway } from "#products/ai-gateway/schema.ts";
import type { ChatWords, Target } from "#products/ai-gateway/targets.ts";
import type { UsageMetadata } from "#products/ai-gateway/schema.ts";

/** An answer that can be given again. */
export type StoredAnswer = {
  status: number;
  headers: Record<string, string>;
  provider: string;
  model: string;
  step: number;
  usage: UsageMetadata | null;
  costNano: number | null;
  /** Lengths of the pieces as they came: a stream is sent again in the same ones. */
  pieces: number[];
  /** The event with the token counts is among the bytes, and the caller did not ask for it. */
  asksForUsage: boolean;
  /** The bytes are not in OpenAI's words, and the caller wants them so. */
  chat: ChatWords | undefined;
  body: Buffer;
};

export interface CacheStore {
  find(key: string): StoredAnswer | undefined;
  keep(gateway: Gateway, key: string, ttlSeconds: number, answer: StoredAnswer): Promise<void>;
}

const log = createLogger("ai-gateway.cache");

/** Answers on disk, found by their key alone. Losing one costs a request and nothing else. */
export function cacheStore(db: Database): CacheStore {
  /** Written down with the next answer that is kept: only then does the order matter. */
  const used = new Map<string, number>();
  return {
    find(key) {
      const now = Date.now();
      const row = db.prepare("SELECT about, body FROM cached WHERE key = ? AND expires_at > ?").get(key, now);
      if (!row) return undefined;
      used.set(key, now);
      const body = row["body"] as Uint8Array;
      return {
        ...(JSON.parse(String(row["about"])) as Omit<StoredAnswer, "body">),
        body: Buffer.from(body.buffer, body.byteOffset, body.byteLength),
      };
    },
    async keep({ accountId, id }, key, ttlSeconds, { body, ...about }) {
      const now = Date.now();
      const answer = {
        key,
        accountId,
        gatewayId: id,
        expiresAt: now + ttlSeconds * 1000,
        usedAt: now,
        about: JSON.stringify(about),
        body: exactBytes(body),
      };
      const uses = [...used].map(([usedKey, usedAt]): Use => ({ key: usedKey, usedAt }));
      used.clear();
      await db
        .write(cacheWrites.keepAnswer, { answer, used: uses })
        .catch((error: unknown) => log.warn("an answer could not be kept", { error }));
    },
  };
}

/** For how long an answer to this request is kept; undefined when it is neither looked for nor kept. */
export function cacheTtlOf(gateway: Gateway, options: CallOptions): number | undefined {
  if (options.skipCache) return undefined;
  const ttl = options.cacheTtl ?? gateway.settings.cache_ttl ?? 0;
  if (ttl > 0) return ttl;
  return options.cacheKey !== undefined && options.cacheTtl !== 0 ? limits.cacheKeyTtlSeconds : undefined;
}

const meaningful =
  /^(anthropic-(version|beta)|openai-(organization|project|beta)|accept|x-goog-user-project|content-type)$/;

/**
 * The key of an answer. Two callers share one only when gateway, epoch, provider, address, body, the credential and the headers
 * that change an answer are the same. The caller's own key stands for address, body and headers.
 */
export function cacheKeyOf(gateway: Gateway, target: Target, options: CallOptions): string | undefined {
  if (target.method !== "POST" || target.body.length > limits.cachedBytes) return undefined;
  const place = [gateway.accountId, gateway.id, gateway.createdAt, String(gateway.epoch), String(target.streams)];
  if (options.cacheKey !== undefined) return sha256("own", ...place, options.cacheKey);
  const headers = [...target.headers].filter(([name]) => meaningful.test(name)).map((pair) => pair.join(":"));
  const url = new URL(target.url);
  url.searchParams.delete("key");
  return sha256(
    "request",
    ...place,
    target.slug,
    url.href,
    target.credential,
    headers.toSorted().join("\n"),
    String(target.asksForUsage),
    JSON.stringify(target.chat ?? null),
    target.body,
  );
}

/** Only what is text or an image, whole, and meant for anyone who asks the same. */
export function isCacheable(status: number, headers: Readonly<Record<string, string>>): boolean {
  const type = headers["content-type"] ?? "";
  return status >= 200 && status < 300 && status !== 206 && /^(text\/|image\/|application\/(x-nd)?json)/.test(type);
}
