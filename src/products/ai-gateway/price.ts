import { createLogger } from "#core/log.ts";
import type { Usage } from "#products/ai-gateway/usage.ts";

/** Prices of a model, in nano-dollars a token; of a request, in nano-dollars. */
export type Price = {
  input: Rate;
  output: Rate;
  cacheRead: Rate;
  cacheWrite: Rate;
  cacheWriteHour: Rate;
  request: number;
};

/** By the tokens of the whole prompt: the last step that they reach applies. */
type Rate = readonly { from: number; nano: number }[];

const log = createLogger("ai-gateway.price");

/** Models whose prices are remembered; prices have dates, so they are looked up anew now and then. */
const known = new Map<string, Price | undefined>();
const knownMax = 4096;
const rememberMs = 60 * 60 * 1000;
let rememberedSince = 0;

type Priced = number | { base: number; tiers: { start: number; price: number }[] } | undefined;

/** What `model` costs today; undefined when the price data does not know it, which is said once in the log. */
export async function priceOf(provider: string | undefined, model: string): Promise<Price | undefined> {
  const key = `${provider} ${model}`;
  if (Date.now() - rememberedSince > rememberMs || known.size >= knownMax) {
    known.clear();
    rememberedSince = Date.now();
  }
  if (known.has(key)) return known.get(key);
  const price = provider === undefined ? undefined : await lookUp(provider, model);
  if (!price) log.warn("a model has no price: its requests are counted without a cost", { provider, model });
  known.set(key, price);
  return price;
}

async function lookUp(providerId: string, model: string): Promise<Price | undefined> {
  // Large, and not needed before the first answer.
  const { calcPrice } = await import("@pydantic/genai-prices");
  const found = calcPrice({}, model, { providerId });
  return found ? compile(found.model_price) : undefined;
}

function compile(prices: Record<string, Priced>): Price {
  const input = rate(prices["input_mtok"]);
  const cacheWrite = rate(prices["cache_write_mtok"], input);
  return {
    input,
    output: rate(prices["output_mtok"]),
    cacheRead: rate(prices["cache_read_mtok"], input),
    cacheWrite,
    cacheWriteHour: rate(prices["cache_write_1h_mtok"], cacheWrite),
    // Dollars for a thousand requests.
    request: typeof prices["requests_kcount"] === "number" ? prices["requests_kcount"] * 1e6 : 0,
  };
}

/** From dollars for a million tokens. */
function rate(price: Priced, otherwise: Rate = [{ from: 0, nano: 0 }]): Rate {
  if (price === undefined) return otherwise;
  if (typeof price === "number") return [{ from: 0, nano: price * 1000 }];
  const tiers = price.tiers.map(({ start, price: dollars }) => ({ from: start, nano: dollars * 1000 }));
  return [{ from: 0, nano: price.base * 1000 }, ...tiers.toSorted((a, b) => a.from - b.from)];
}

/** Nano-dollars of an answer. */
export function costOf(price: Price, usage: Usage): number {
  const at = (steps: Rate) => steps.findLast(({ from }) => from === 0 || usage.input > from)?.nano ?? 0;
  const plain = Math.max(0, usage.input - usage.cacheRead - usage.cacheWrite);
  const hour = Math.min(usage.cacheWrite, usage.cacheWriteHour);
  return Math.round(
    plain * at(price.input) +
      usage.cacheRead * at(price.cacheRead) +
      (usage.cacheWrite - hour) * at(price.cacheWrite) +
      hour * at(price.cacheWriteHour) +
      usage.output * at(price.output) +
      price.request,
  );
}

/** `cf-aig-custom-cost`: dollars a token, or for the whole request. */
export type CustomCost = {
  per_token_in?: number;
  per_token_out?: number;
  per_cache_read_token?: number;
  per_cache_write_token?: number;
  total_cost?: number;
};

/** Nano-dollars of an answer by the caller's own price. Once it names a rate for the cache, the other one is that of input. */
export function customCostOf(custom: CustomCost, usage: Usage | undefined): number {
  if (custom.total_cost !== undefined) return Math.round(custom.total_cost * 1e9);
  if (!usage) return 0;
  const input = custom.per_token_in ?? 0;
  const splits = custom.per_cache_read_token !== undefined || custom.per_cache_write_token !== undefined;
  const [read, write] = splits ? [usage.cacheRead, usage.cacheWrite] : [0, 0];
  const dollars =
    Math.max(0, usage.input - read - write) * input +
    read * (custom.per_cache_read_token ?? input) +
    write * (custom.per_cache_write_token ?? input) +
    usage.output * (custom.per_token_out ?? 0);
  return Math.round(dollars * 1e9);
}
