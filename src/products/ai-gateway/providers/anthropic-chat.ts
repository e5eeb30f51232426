import { parseData } from "#products/ai-gateway/meter.ts";
import { isObject } from "#products/ai-gateway/usage.ts";

/**
 * OpenAI's chat completions on Anthropic's messages, both ways
 * (https://platform.openai.com/docs/api-reference/chat, https://docs.anthropic.com/en/api/messages). Pure: what goes in comes out
 * in the other's words, and what has no word there is left out.
 */
type Json = Record<string, unknown>;

/** Anthropic wants a bound; OpenAI's default is the model's own. */
const defaultMaxTokens = 4096;

/** A request of OpenAI's as Anthropic takes it. */
export function toMessages(chat: Json): Json {
  const messages = Array.isArray(chat["messages"]) ? chat["messages"].filter(isObject) : [];
  const isSystem = (message: Json) => message["role"] === "system" || message["role"] === "developer";
  const system = messages.filter(isSystem).map(({ content }) => textOf(content));
  const stop = chat["stop"];
  const tools = toTools(chat["tools"]);
  return {
    model: chat["model"],
    max_tokens: chat["max_completion_tokens"] ?? chat["max_tokens"] ?? defaultMaxTokens,
    messages: merged(messages.filter((message) => !isSystem(message)).map(toMessage)),
    ...(system.length > 0 ? { system: system.join("\n\n") } : {}),
    ...copied(chat, ["temperature", "top_p", "stream"]),
    ...(stop === undefined || stop === null ? {} : { stop_sequences: Array.isArray(stop) ? stop : [stop] }),
    ...(tools ? { tools, ...toToolChoice(chat) } : {}),
    ...(typeof chat["user"] === "string" ? { metadata: { user_id: chat["user"] } } : {}),
  };
}

function copied(from: Json, names: readonly string[]): Json {
  return Object.fromEntries(
    names.flatMap((name) => (from[name] === undefined || from[name] === null ? [] : [[name, from[name]]])),
  );
}

function toMessage(message: Json): { role: string; content: unknown[] } {
  if (message["role"] === "tool") {
    const result = { type: "tool_result", tool_use_id: message["tool_call_id"], content: textOf(message["content"]) };
    return { role: "user", content: [result] };
  }
  const calls = Array.isArray(message["tool_calls"]) ? message["tool_calls"].filter(isObject) : [];
  return {
    role: message["role"] === "assistant" ? "assistant" : "user",
    content: [...toBlocks(message["content"]), ...calls.map(toToolUse)],
  };
}

function toBlocks(content: unknown): unknown[] {
  if (typeof content === "string") return content === "" ? [] : [{ type: "text", text: content }];
  if (!Array.isArray(content)) return [];
  return content.filter(isObject).flatMap((part): Json[] => {
    if (part["type"] === "text") return [{ type: "text", text: part["text"] }];
    const image = isObject(part["image_url"]) ? part["image_url"]["url"] : undefined;
    if (typeof image !== "string") return [];
    const data = /^data:([^;,]+);base64,(.*)$/s.exec(image);
    const source = data ? { type: "base64", media_type: data[1], data: data[2] } : { type: "url", url: image };
    return [{ type: "image", source }];
  });
}

function toToolUse(call: Json): Json {
  const named = isObject(call["function"]) ? call["function"] : {};
  return { type: "tool_use", id: call["id"], name: named["name"], input: argumentsOf(named["arguments"]) };
}

function argumentsOf(text: unknown): unknown {
  try {
    return JSON.parse(typeof text === "string" && text !== "" ? text : "{}");
  } catch {
    // A model wrote it; Anthropic takes an object only.
    return {};
  }
}

/** Anthropic wants the two sides to take turns: results of several tools are one message. */
function merged(messages: { role: string; content: unknown[] }[]): { role: string; content: unknown[] }[] {
  const turns: { role: string; content: unknown[] }[] = [];
  for (const message of messages) {
    const last = turns.at(-1);
    if (last?.role === message.role) last.content.push(...message.content);
    else turns.push({ role: message.role, content: [...message.content] });
  }
  return turns;
}

function toTools(tools: unknown): Json[] | undefined {
  if (!Array.isArray(tools) || tools.length === 0) return undefined;
  return tools.filter(isObject).flatMap(({ function: named }) => {
    if (!isObject(named)) return [];
    const { name, description, parameters } = named;
    return [{ name, ...(description ? { description } : {}), input_schema: parameters ?? { type: "object" } }];
  });
}

function toToolChoice({ tool_choice: choice, parallel_tool_calls: parallel }: Json): Json {
  const disable = parallel === false ? { disable_parallel_tool_use: true } : {};
  if (choice === "none") return { tool_choice: { type: "none" } };
  if (choice === "required") return { tool_choice: { type: "any", ...disable } };
  const named = isObject(choice) && isObject(choice["function"]) ? choice["function"]["name"] : undefined;
  if (named !== undefined) return { tool_choice: { type: "tool", name: named, ...disable } };
  return parallel === false ? { tool_choice: { type: "auto", ...disable } } : {};
}

function textOf(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content
    .filter(isObject)
    .map(({ text }) => (typeof text === "string" ? text : ""))
    .join("");
}

/** A whole answer of Anthropic's, or its error, in OpenAI's words. */
export function toChat(answer: unknown): Json {
  const message = isObject(answer) ? answer : {};
  if (isObject(message["error"])) {
    const { type, message: text } = message["error"];
    return { error: { message: text, type, param: null, code: null, metadata: { raw: answer } } };
  }
  const blocks = Array.isArray(message["content"]) ? message["content"].filter(isObject) : [];
  const text = blocks.filter(({ type }) => type === "text").map((block) => textOf([block]));
  const calls = blocks.filter(({ type }) => type === "tool_use").map(toToolCall);
  const reply = {
    role: "assistant",
    content: text.length > 0 ? text.join("") : null,
    refusal: null,
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
  };
  return {
    id: message["id"],
    object: "chat.completion",
    created: Math.floor(Date.now() / 1000),
    model: message["model"],
    choices: [{ index: 0, message: reply, logprobs: null, finish_reason: finishReason(message["stop_reason"]) }],
    usage: toUsage(message["usage"]),
  };
}

function toToolCall(block: Json): Json {
  return {
    id: block["id"],
    type: "function",
    function: { name: block["name"], arguments: JSON.stringify(block["input"] ?? {}) },
  };
}

const reasons: Record<string, string> = {
  end_turn: "stop",
  stop_sequence: "stop",
  max_tokens: "length",
  tool_use: "tool_calls",
  refusal: "content_filter",
};

function finishReason(reason: unknown): string {
  return (typeof reason === "string" ? reasons[reason] : undefined) ?? "stop";
}

function toUsage(usage: unknown): Json {
  const given = isObject(usage) ? usage : {};
  const count = (name: string) => (typeof given[name] === "number" ? given[name] : 0);
  const cached = count("cache_read_input_tokens");
  const prompt = count("input_tokens") + cached + count("cache_creation_input_tokens");
  const completion = count("output_tokens");
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: cached },
  };
}

/** A stream of Anthropic's events as one of OpenAI's. `withUsage`: the caller asked for the last event with the counts. */
export async function* toChatEvents(body: AsyncIterable<Buffer>, withUsage: boolean): AsyncGenerator<Buffer> {
  const translation = new ChatEvents(withUsage);
  let carry = "";
  const decoder = new TextDecoder();
  for await (const piece of body) {
    const lines = (carry + decoder.decode(piece, { stream: true })).split("\n");
    carry = lines.pop() ?? "";
    const events = lines.flatMap((line) => translation.next(line));
    if (events.length > 0) yield Buffer.from(events.join(""));
  }
}

class ChatEvents {
  readonly #withUsage: boolean;
  readonly #created = Math.floor(Date.now() / 1000);
  #head: Json = {};
  #usage: Json = {};
  /** Anthropic numbers all blocks of an answer, OpenAI the tool calls among them. */
  #calls = -1;

  constructor(withUsage: boolean) {
    this.#withUsage = withUsage;
  }

  next(line: string): string[] {
    if (!line.startsWith("data:")) return [];
    const event = parseData(Buffer.from(line));
    if (!isObject(event)) return [];
    switch (event["type"]) {
      case "message_start": {
        const message = isObject(event["message"]) ? event["message"] : {};
        this.#head = { id: message["id"], model: message["model"] };
        this.#keepUsage(message["usage"]);
        return [this.#chunk({ role: "assistant", content: "" }, null)];
      }
      case "content_block_start":
        return this.#begin(event["content_block"]);
      case "content_block_delta":
        return this.#delta(event["delta"]);
      case "message_delta": {
        this.#keepUsage(event["usage"]);
        const delta = isObject(event["delta"]) ? event["delta"] : {};
        return [this.#chunk({}, finishReason(delta["stop_reason"]))];
      }
      case "message_stop": {
        const usage = this.#event({ choices: [], usage: toUsage(this.#usage) });
        return [...(this.#withUsage ? [usage] : []), "data: [DONE]\n\n"];
      }
      case "error":
        return [`data: ${JSON.stringify(toChat(event))}\n\n`];
      default:
        return [];
    }
  }

  #begin(block: unknown): string[] {
    if (!isObject(block) || block["type"] !== "tool_use") return [];
    this.#calls++;
    const call = {
      index: this.#calls,
      id: block["id"],
      type: "function",
      function: { name: block["name"], arguments: "" },
    };
    return [this.#chunk({ tool_calls: [call] }, null)];
  }

  #delta(delta: unknown): string[] {
    if (!isObject(delta)) return [];
    if (delta["type"] === "text_delta") return [this.#chunk({ content: delta["text"] }, null)];
    if (delta["type"] !== "input_json_delta") return [];
    return [
      this.#chunk({ tool_calls: [{ index: this.#calls, function: { arguments: delta["partial_json"] } }] }, null),
    ];
  }

  /** Counts come at the start and at the end; the later ones are of the whole answer. */
  #keepUsage(usage: unknown): void {
    if (isObject(usage)) this.#usage = { ...this.#usage, ...usage };
  }

  #chunk(delta: Json, finish: string | null): string {
    return this.#event({ choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }] });
  }

  #event(members: Json): string {
    return `data: ${JSON.stringify({ ...this.#head, object: "chat.completion.chunk", created: this.#created, ...members })}\n\n`;
  }
}
