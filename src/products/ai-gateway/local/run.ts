import { z } from "zod";
import { gatewayErrors } from "#products/ai-gateway/errors.ts";
import { hashedEmbedding } from "#products/ai-gateway/local/embedding.ts";
import { extractAnswer } from "#products/ai-gateway/local/extract.ts";
import { wordsOf } from "#products/ai-gateway/local/words.ts";

/** Dimensions of Workers AI's embedding models: https://developers.cloudflare.com/workers-ai/models/ */
const embeddingModels: Readonly<Record<string, number>> = {
  "@cf/baai/bge-small-en-v1.5": 384,
  "@cf/baai/bge-base-en-v1.5": 768,
  "@cf/baai/bge-large-en-v1.5": 1024,
  "@cf/baai/bge-m3": 1024,
  "@cf/google/embeddinggemma-300m": 300,
  "@cf/qwen/qwen3-embedding-0.6b": 1024,
};

/** Families of Workers AI's models that write text; others that take a prompt draw or speak, and those that guard judge. */
const textModel =
  /^@(cf|hf)\/(?!.*(guard|embedding|rerank)).*(llama|mistral|mixtral|gemma|qwen|qwq|deepseek|gpt-oss|phi-|hermes|falcon|granite|kimi|glm|nemotron|openchat|zephyr|starling|tinyllama)/;

/** Texts of one call, as on Workers AI. */
const textsMax = 100;

const embeddingInput = z.object({
  text: z.union([z.string(), z.array(z.string()).min(1).max(textsMax)]),
});
const content = z.union([z.string(), z.array(z.looseObject({ text: z.string().optional() }))]);
const textInput = z.union([
  z.object({ messages: z.array(z.object({ role: z.string(), content })).min(1), stream: z.boolean().optional() }),
  z.object({ prompt: z.string(), stream: z.boolean().optional() }),
]);

/** Workers AI's answers: an object, or events of server-sent text. */
export type LocalAnswer = { json: object } | { events: string[] };

/** Answers for a model of Workers AI without any model: the embedded default, so that an application runs with no network. */
export function runLocally(model: string, inputs: unknown): LocalAnswer {
  const dimensions = Object.hasOwn(embeddingModels, model) ? embeddingModels[model] : undefined;
  if (dimensions !== undefined) {
    const parsed = embeddingInput.safeParse(inputs);
    if (!parsed.success) throw gatewayErrors.invalid(`text must be a string or 1 to ${textsMax} strings`);
    const texts = [parsed.data.text].flat();
    const data = texts.map((text) => hashedEmbedding(text, dimensions));
    return { json: { shape: [texts.length, dimensions], data } };
  }
  const parsed = textInput.safeParse(inputs);
  // Images, speech and the rest need a real model.
  if (!parsed.success || !textModel.test(model)) throw gatewayErrors.noModel(model);
  const { question, given } = readText(parsed.data);
  const response = extractAnswer(question, given);
  const usage = usageOf(`${question} ${given}`, response);
  if (parsed.data.stream !== true) return { json: { response, usage } };
  const pieces = response.match(/\S+\s*/g) ?? [];
  const events = [...pieces.map((piece) => ({ response: piece })), { response: "", usage }];
  return { events: [...events.map((event) => `data: ${JSON.stringify(event)}\n\n`), "data: [DONE]\n\n"] };
}

/** The last thing that the user said, and all else; of a prompt alone, its last line and what stands before. */
function readText(input: z.infer<typeof textInput>): { question: string; given: string } {
  if ("prompt" in input) {
    const lines = input.prompt.trimEnd().split("\n");
    return { question: lines.at(-1) ?? "", given: lines.slice(0, -1).join("\n") };
  }
  const texts = input.messages.map(({ role, content: text }) => ({
    role,
    text: typeof text === "string" ? text : text.map((part) => part.text ?? "").join("\n"),
  }));
  const at = texts.findLastIndex(({ role }) => role === "user");
  const question = texts[at]?.text ?? "";
  // A question that brings its sources along, as many prompts do, is answered from itself.
  const others = texts.filter((_, index) => index !== at).map(({ text }) => text);
  return { question, given: [...others, ...(question.includes("\n") ? [question] : [])].join("\n") };
}

/** Words, which is what counts here for tokens. */
function usageOf(prompt: string, completion: string) {
  const prompt_tokens = wordsOf(prompt).length;
  const completion_tokens = wordsOf(completion).length;
  return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens };
}
