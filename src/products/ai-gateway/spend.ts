import type { Database } from "#db/database.ts";
import { costOf, customCostOf, priceOf } from "#products/ai-gateway/price.ts";
import type { CallOptions } from "#products/ai-gateway/call.ts";
import { parseJson } from "#products/ai-gateway/meter.ts";
import type { Gateway, Metadata, SpendRule } from "#products/ai-gateway/schema.ts";
import { spendWrites, usedOf, type SpendBucket } from "#products/ai-gateway/spend-writes.ts";
import type { Target } from "#products/ai-gateway/targets.ts";
import { isObject, type Usage } from "#products/ai-gateway/usage.ts";

/** The money that requests may cost: set aside before one is sent, settled when it is known. */
export interface SpendStore {
  /** Throws when a rule of the gateway has no room for a request to `target`. undefined when no rule applies. */
  hold(id: string, gateway: Gateway, target: Target, options: CallOptions): Promise<SpendHeld | undefined>;
  /** Whether anything is left in a bucket now. */
  hasRoom(bucket: SpendBucket): boolean;
}

export interface SpendHeld {
  /** `nano`: what it cost; null when nobody knows, and then what was set aside counts. */
  settle(nano: number | null): Promise<void>;
}

/** Nothing is kept for longer than the longest window that a rule can have. */
const keptMs = 400 * 24 * 60 * 60 * 1000;

/** Opens the counters; what an earlier process had set aside and not settled counts as spent. */
export async function openSpendStore(db: Database): Promise<SpendStore> {
  await db.write(spendWrites.settleAll, { keepFrom: Date.now() - keptMs });
  return {
    async hold(id, gateway, target, options) {
      const buckets = [...bucketsOf(gateway, target, options.metadata), ...target.buckets];
      if (buckets.length === 0) return undefined;
      const estimateNano = await estimateOf(target, options);
      await db.write(spendWrites.holdSpend, { id, estimateNano, now: Date.now(), buckets });
      return {
        settle: (nano) => db.write(spendWrites.settleSpend, { id, nano: nano ?? estimateNano }),
      };
    },
    hasRoom(bucket) {
      const { spent, held } = usedOf(db, bucket, Date.now());
      return spent + held < bucket.limitNano;
    },
  };
}

function bucketsOf(gateway: Gateway, target: Target, metadata: Metadata): SpendBucket[] {
  const { spend_limits: spend } = gateway.settings;
  if (!spend?.enabled) return [];
  return spend.rules.flatMap((rule, index) => {
    const parts = rule.enabled ? partsOf(rule, target, metadata) : undefined;
    if (!parts) return [];
    const name = rule.id ?? `rule-${index + 1}`;
    const about = `rule '${name}' (cost limit ${rule.limit} per ${rule.window}s, ${rule.technique})`;
    return [
      {
        key: JSON.stringify([
          gateway.accountId,
          gateway.id,
          gateway.createdAt,
          name,
          rule.window,
          rule.technique,
          ...parts,
        ]),
        about: `${about} for ${target.slug} ${target.model}`,
        limitNano: Math.round(rule.limit * 1e9),
        windowMs: rule.window * 1000,
        sliding: rule.technique === "sliding",
      },
    ];
  });
}

/** The values that a rule divides its money by; undefined when it does not apply to this request. */
function partsOf(rule: SpendRule, target: Target, metadata: Metadata): string[] | undefined {
  const parts: string[] = [];
  const dimensions = [
    { dimension: rule.model, value: target.model },
    { dimension: rule.provider, value: target.slug },
    ...Object.entries(rule.metadata ?? {}).map(([key, dimension]) => ({ dimension, value: metadata[key] })),
  ];
  for (const { dimension, value } of dimensions) {
    if (!dimension) continue;
    if (dimension.mode === "partition") parts.push(value === undefined ? "" : String(value));
    else if (value === undefined || !dimension.values.includes(String(value))) return undefined;
  }
  return parts;
}

/** Tokens that are set aside for an answer whose request names no bound. */
const outputTokens = 4096;
/** A token is at least so many bytes of a prompt: an estimate that is too low would let a limit be passed. */
const bytesPerToken = 2;

/** The most that a request is expected to cost, in nano-dollars. A model without a price costs nothing that could be counted. */
async function estimateOf(target: Target, options: CallOptions): Promise<number> {
  const usage: Usage = {
    input: Math.ceil(target.body.length / bytesPerToken),
    output: outputBound(target.body),
    cacheRead: 0,
    cacheWrite: 0,
    cacheWriteHour: 0,
    reasoning: 0,
  };
  if (options.customCost) return customCostOf(options.customCost, usage);
  const price = await priceOf(target.provider.prices, target.model);
  return price ? costOf(price, usage) : 0;
}

function outputBound(body: Buffer): number {
  const given = parseJson(body.toString());
  if (!isObject(given)) return outputTokens;
  const google = isObject(given["generationConfig"]) ? given["generationConfig"]["maxOutputTokens"] : undefined;
  const bound = given["max_completion_tokens"] ?? given["max_tokens"] ?? given["max_output_tokens"] ?? google;
  const answers = typeof given["n"] === "number" && given["n"] > 1 ? given["n"] : 1;
  return (typeof bound === "number" && bound > 0 ? bound : outputTokens) * answers;
}
