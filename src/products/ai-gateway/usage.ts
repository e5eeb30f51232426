/** Tokens of one answer. `input` holds the cached ones too, `output` those of reasoning. */
export type Usage = {
  input: number;
  output: number;
  cacheRead: number;
  cacheWrite: number;
  /** Among `cacheWrite`: kept for an hour, at a price of its own. */
  cacheWriteHour: number;
  reasoning: number;
  /** What the provider says it costs, in dollars. */
  dollars?: number;
};

type Json = Record<string, unknown>;

/**
 * Token counts in one JSON message of any provider's wire: an answer as a whole, or an event of a stream. Members are told by
 * their names, which no two wires share with different meanings; see the tests for where each comes from.
 */
export function readUsage(message: unknown, options: { reasoningBeside?: boolean } = {}): Partial<Usage> | undefined {
  if (!isObject(message)) return undefined;
  const google = message["usageMetadata"];
  if (isObject(google)) return googleUsage(google);
  const found =
    message["usage"] ??
    inside(message, "message", "usage") ??
    inside(message, "response", "usage") ??
    inside(message, "delta", "usage") ??
    inside(message, "x_groq", "usage");
  if (isObject(found)) return namedUsage(found, options.reasoningBeside ?? false);
  if (typeof message["eval_count"] === "number")
    // Ollama leaves the prompt's count out when the prompt was cached (ollama docs/api.md).
    return { input: number(message["prompt_eval_count"]), output: message["eval_count"] };
  return undefined;
}

/** OpenAI (chat and responses), Anthropic, Cohere, Bedrock. */
function namedUsage(usage: Json, reasoningBeside: boolean): Partial<Usage> {
  const dollars = typeof usage["cost"] === "number" ? { dollars: usage["cost"] } : {};
  if ("prompt_tokens" in usage || "completion_tokens" in usage) {
    const prompt = number(usage["prompt_tokens"]);
    const completion = number(usage["completion_tokens"]);
    const reasoning = number(inside(usage, "completion_tokens_details", "reasoning_tokens"));
    const beside = reasoningBeside && number(usage["total_tokens"]) === prompt + completion + reasoning;
    return {
      input: prompt,
      output: beside ? completion + reasoning : completion,
      // DeepSeek has a name of its own.
      cacheRead: number(inside(usage, "prompt_tokens_details", "cached_tokens") ?? usage["prompt_cache_hit_tokens"]),
      cacheWrite: number(inside(usage, "prompt_tokens_details", "cache_write_tokens")),
      reasoning,
      ...dollars,
    };
  }
  if ("inputTokens" in usage || "outputTokens" in usage) {
    const [read, write] = [number(usage["cacheReadInputTokens"]), number(usage["cacheWriteInputTokens"])];
    return {
      input: number(usage["inputTokens"]) + read + write,
      output: number(usage["outputTokens"]),
      cacheRead: read,
      cacheWrite: write,
    };
  }
  // Cohere bills these, which may be fewer than `tokens`.
  const billed = usage["billed_units"] ?? usage["tokens"];
  if (isObject(billed)) return { input: number(billed["input_tokens"]), output: number(billed["output_tokens"]) };
  return anthropicOrResponses(usage);
}

/** Both say `input_tokens`; Anthropic's are without what its cache took part in, which stands beside them. */
function anthropicOrResponses(usage: Json): Partial<Usage> {
  const found: Partial<Usage> = {};
  const read = number(usage["cache_read_input_tokens"]);
  const write = number(usage["cache_creation_input_tokens"]);
  if (typeof usage["input_tokens"] === "number") found.input = usage["input_tokens"] + read + write;
  if (typeof usage["output_tokens"] === "number") found.output = usage["output_tokens"];
  const cached = number(inside(usage, "input_tokens_details", "cached_tokens"));
  if (read + cached > 0) found.cacheRead = read + cached;
  if (write > 0) found.cacheWrite = write;
  const hour = number(inside(usage, "cache_creation", "ephemeral_1h_input_tokens"));
  if (hour > 0) found.cacheWriteHour = hour;
  const reasoning = number(inside(usage, "output_tokens_details", "reasoning_tokens"));
  if (reasoning > 0) found.reasoning = reasoning;
  return found;
}

function googleUsage(usage: Json): Partial<Usage> {
  const reasoning = number(usage["thoughtsTokenCount"]);
  return {
    input: number(usage["promptTokenCount"]) + number(usage["toolUsePromptTokenCount"]),
    output: number(usage["candidatesTokenCount"]) + reasoning,
    cacheRead: number(usage["cachedContentTokenCount"]),
    reasoning,
  };
}

/** What two messages of one stream say together: the later one wins where it says something. */
export function mergeUsage(before: Partial<Usage> | undefined, after: Partial<Usage> | undefined): Usage | undefined {
  if (!before && !after) return undefined;
  const none: Usage = { input: 0, output: 0, cacheRead: 0, cacheWrite: 0, cacheWriteHour: 0, reasoning: 0 };
  const merged = { ...none, ...before, ...after };
  // Anthropic's last event may repeat the input without its cached part, or say 0.
  merged.input = Math.max(before?.input ?? 0, after?.input ?? 0);
  return merged;
}

export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function inside(value: Json, member: string, name: string): unknown {
  const found = value[member];
  return isObject(found) ? found[name] : undefined;
}

function number(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : 0;
}
