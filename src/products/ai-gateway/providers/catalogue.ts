/** How a provider's answers count tokens and end their streams. */
export type Wire = "openai" | "anthropic" | "gemini" | "other";

/** A provider, as data. */
export type Provider = {
  /** Where its paths begin; ends in a slash. */
  base: string;
  /** Header that carries its key, and the word before the key. */
  auth: { header: string; scheme?: string };
  wire: Wire;
  /** Its name in the price data; undefined where that has none. */
  prices?: string;
  /** Path, below `base`, that takes OpenAI's chat completions; undefined when it has none. */
  chat?: string;
  /** Written before a path that does not begin with it already: people leave the version out. */
  prefix?: string;
  /** Parts of the path that name a host: see `addressing.ts`. */
  addressing?: "azure" | "bedrock" | "vertex";
  /** Reasoning tokens are counted beside the completion's and not among them. */
  reasoningBeside?: true;
  /** Other headers that say who the caller is; then no stored key is put in. */
  otherAuth?: readonly string[];
};

const bearer = { header: "authorization", scheme: "Bearer" } as const;
const openai = { auth: bearer, wire: "openai" } as const;

/** https://developers.cloudflare.com/ai-gateway/usage/providers/; the paths after a slug are the provider's own. */
export const providers: Readonly<Record<string, Provider>> = {
  openai: { ...openai, base: "https://api.openai.com/", prices: "openai", prefix: "v1/", chat: "v1/chat/completions" },
  anthropic: {
    base: "https://api.anthropic.com/",
    auth: { header: "x-api-key" },
    otherAuth: ["authorization"],
    wire: "anthropic",
    prices: "anthropic",
  },
  "google-ai-studio": {
    base: "https://generativelanguage.googleapis.com/",
    auth: { header: "x-goog-api-key" },
    otherAuth: ["authorization"],
    wire: "gemini",
    prices: "google",
    chat: "v1beta/openai/chat/completions",
  },
  "google-vertex-ai": {
    base: "https://aiplatform.googleapis.com/",
    auth: bearer,
    wire: "gemini",
    prices: "google",
    addressing: "vertex",
  },
  "azure-openai": {
    ...openai,
    base: "https://openai.azure.com/",
    auth: { header: "api-key" },
    otherAuth: ["authorization"],
    prices: "azure",
    addressing: "azure",
  },
  "aws-bedrock": {
    base: "https://amazonaws.com/",
    auth: bearer,
    wire: "other",
    prices: "aws",
    addressing: "bedrock",
  },
  mistral: { ...openai, base: "https://api.mistral.ai/", prices: "mistral", chat: "v1/chat/completions" },
  groq: { ...openai, base: "https://api.groq.com/openai/v1/", prices: "groq", chat: "chat/completions" },
  deepseek: { ...openai, base: "https://api.deepseek.com/", prices: "deepseek", chat: "chat/completions" },
  grok: {
    ...openai,
    base: "https://api.x.ai/",
    prices: "x-ai",
    chat: "v1/chat/completions",
    reasoningBeside: true,
  },
  cohere: {
    ...openai,
    base: "https://api.cohere.com/",
    prices: "cohere",
    chat: "compatibility/v1/chat/completions",
  },
  openrouter: { ...openai, base: "https://openrouter.ai/api/", prices: "openrouter", chat: "v1/chat/completions" },
  "perplexity-ai": { ...openai, base: "https://api.perplexity.ai/", prices: "perplexity", chat: "chat/completions" },
  cerebras: {
    ...openai,
    base: "https://api.cerebras.ai/",
    prices: "cerebras",
    prefix: "v1/",
    chat: "v1/chat/completions",
  },
  huggingface: { ...openai, base: "https://router.huggingface.co/", chat: "v1/chat/completions" },
  replicate: { base: "https://api.replicate.com/", auth: bearer, wire: "other" },
  fireworks: {
    ...openai,
    base: "https://api.fireworks.ai/inference/v1/",
    prices: "fireworks",
    chat: "chat/completions",
  },
  baseten: { ...openai, base: "https://inference.baseten.co/", prices: "baseten", chat: "v1/chat/completions" },
  parallel: { ...openai, base: "https://api.parallel.ai/", auth: { header: "x-api-key" }, chat: "chat/completions" },
  fal: { base: "https://fal.run/", auth: { header: "authorization", scheme: "Key" }, wire: "other" },
  ideogram: { base: "https://api.ideogram.ai/", auth: { header: "api-key" }, wire: "other" },
  cartesia: { base: "https://api.cartesia.ai/", auth: { header: "x-api-key" }, wire: "other" },
  deepgram: { base: "https://api.deepgram.com/", auth: { header: "authorization", scheme: "Token" }, wire: "other" },
  elevenlabs: { base: "https://api.elevenlabs.io/", auth: { header: "xi-api-key" }, wire: "other" },
};

/** A provider with a base of its owner's choice: a local model, a server that speaks OpenAI's wire. */
export function customEntry(url: string): Provider {
  const base = url.endsWith("/") ? url : `${url}/`;
  const hasPath = new URL(base).pathname !== "/";
  return { ...openai, base, chat: hasPath ? "chat/completions" : "v1/chat/completions" };
}

/** Slugs as other Cloudflare surfaces write them. */
export const aliases: Readonly<Record<string, string>> = {
  google: "google-ai-studio",
  "google-vertex": "google-vertex-ai",
  xai: "grok",
  bedrock: "aws-bedrock",
  azure: "azure-openai",
  perplexity: "perplexity-ai",
};
