/** Who is asked, in this order: the next one when the one before it fails or does not begin in time. Names are `provider/model`. */
const models = ["openai/gpt-4o-mini", "anthropic/claude-haiku-4-5"] as const;

const beginWithinMs = 15_000;
const cacheSeconds = 24 * 60 * 60;

type Message = { role: "system" | "user"; content: string };

/**
 * Asks through AI Gateway. It puts in the providers' keys, answers a question that was asked before from its cache, and counts
 * what each feature costs by the metadata. Every model answers in the words of OpenAI's chat completions.
 */
export async function askModels(
  ai: Ai,
  gateway: string,
  { feature, messages, signal }: { feature: string; messages: Message[]; signal: AbortSignal },
): Promise<Response> {
  const steps = models.map((model) => ({
    provider: "compat",
    endpoint: "chat/completions",
    headers: { "content-type": "application/json" },
    query: { model, messages, stream: true, max_tokens: 800 },
  }));
  return ai.gateway(gateway).run(steps, {
    gateway: {
      id: gateway,
      cacheTtl: cacheSeconds,
      requestTimeoutMs: beginWithinMs,
      retries: { maxAttempts: 2, retryDelayMs: 200, backoff: "exponential" },
      metadata: { feature },
    },
    signal,
  });
}

/** The model that gave this answer. */
export function answeredBy(answer: Response): string {
  return models[Number(answer.headers.get("cf-aig-step") ?? 0)]?.split("/")[1] ?? "";
}
