import { once } from "node:events";
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import { buffer } from "node:stream/consumers";

/** A request as a provider saw it. */
export type ProviderRequest = {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
  body: Buffer;
  json: Record<string, unknown>;
  /** Pieces of the answer that were written so far, and whether its reader went away. */
  written: number;
  left: boolean;
};

export type ProviderHandler = (request: ProviderRequest, response: ServerResponse) => Promise<void> | void;

/** A provider on a port of its own that answers as `handler` says, and remembers what it was asked. */
export class FakeProvider implements AsyncDisposable {
  readonly requests: ProviderRequest[] = [];
  handler: ProviderHandler;
  port = 0;
  readonly #server: Server;

  private constructor(handler: ProviderHandler) {
    this.handler = handler;
    const answer = async (incoming: IncomingMessage, response: ServerResponse) => {
      const request: ProviderRequest = {
        method: incoming.method ?? "",
        path: incoming.url ?? "",
        headers: incoming.headers,
        body: Buffer.alloc(0),
        json: {},
        written: 0,
        left: false,
      };
      this.requests.push(request);
      response.on("close", () => (request.left = !response.writableFinished));
      request.body = await buffer(incoming).catch(() => Buffer.alloc(0));
      if (request.body[0] === 0x7b) request.json = JSON.parse(request.body.toString()) as Record<string, unknown>;
      await this.handler(request, response);
    };
    this.#server = createServer((incoming, response) => void answer(incoming, response));
  }

  static async listen(handler: ProviderHandler = openai()): Promise<FakeProvider> {
    const provider = new FakeProvider(handler);
    provider.#server.listen(0, "127.0.0.1");
    await once(provider.#server, "listening");
    const address = provider.#server.address();
    if (typeof address !== "object" || !address) throw new Error("no port");
    provider.port = address.port;
    return provider;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/`;
  }

  get last(): ProviderRequest {
    const last = this.requests.at(-1);
    if (!last) throw new Error("the provider was not asked");
    return last;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}

/** Writes JSON with a status. */
export function json(
  response: ServerResponse,
  value: unknown,
  status = 200,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(value));
}

/** Writes events one by one, `everyMs` apart; ends with the response unless `cut`. */
export async function stream(
  request: ProviderRequest,
  response: ServerResponse,
  events: readonly string[],
  options: { everyMs?: number; cut?: boolean } = {},
): Promise<void> {
  if (!response.headersSent) response.writeHead(200, { "content-type": "text/event-stream" });
  for (const event of events) {
    if (response.destroyed) return;
    response.write(event);
    request.written++;
    await new Promise((resolve) => setTimeout(resolve, options.everyMs ?? 0));
  }
  if (options.cut) response.destroy();
  else response.end();
}

export const words = ["The", " ground", " is", " yours", "."];
const openaiUsage = {
  prompt_tokens: 100,
  completion_tokens: 20,
  total_tokens: 120,
  prompt_tokens_details: { cached_tokens: 40 },
  completion_tokens_details: { reasoning_tokens: 5 },
};

/** OpenAI's chat completions, with tools when they are offered; usage in a stream only for who asks for it. */
export function openai(options: { everyMs?: number; usage?: unknown; model?: string } = {}): ProviderHandler {
  const usage = options.usage ?? openaiUsage;
  return async (request, response) => {
    const model = options.model ?? (typeof request.json["model"] === "string" ? request.json["model"] : "gpt-4o-mini");
    if (request.path.includes("/responses")) return responses(request, response, model);
    if (request.path.includes("/embeddings"))
      return json(response, {
        object: "list",
        model,
        data: [{ object: "embedding", index: 0, embedding: [0.1, 0.2] }],
        usage: { prompt_tokens: 8, total_tokens: 8 },
      });
    const tools = Array.isArray(request.json["tools"]);
    const common = { id: "chatcmpl-1", created: 1_760_000_000, model };
    if (request.json["stream"] !== true) {
      const message = tools
        ? { role: "assistant", content: null, tool_calls: [toolCall] }
        : { role: "assistant", content: words.join(""), refusal: null };
      const choices = [{ index: 0, message, logprobs: null, finish_reason: tools ? "tool_calls" : "stop" }];
      return json(response, { ...common, object: "chat.completion", choices, usage });
    }
    const chunk = (delta: unknown, finish: string | null) =>
      data({ ...common, object: "chat.completion.chunk", choices: [{ index: 0, delta, finish_reason: finish }] });
    const asked = (request.json["stream_options"] as { include_usage?: boolean } | undefined)?.include_usage === true;
    const deltas = tools
      ? [{ role: "assistant", content: null, tool_calls: [{ index: 0, ...toolCall }] }]
      : words.map((content) => ({ role: "assistant", content }));
    await stream(
      request,
      response,
      [
        ...deltas.map((delta) => chunk(delta, null)),
        chunk({}, tools ? "tool_calls" : "stop"),
        ...(asked ? [data({ ...common, object: "chat.completion.chunk", choices: [], usage })] : []),
        "data: [DONE]\n\n",
      ],
      options,
    );
  };
}

const toolCall = { id: "call_1", type: "function", function: { name: "weather", arguments: '{"city":"Rome"}' } };

async function responses(request: ProviderRequest, response: ServerResponse, model: string): Promise<void> {
  const usage = {
    input_tokens: 100,
    output_tokens: 20,
    total_tokens: 120,
    input_tokens_details: { cached_tokens: 40 },
    output_tokens_details: { reasoning_tokens: 5 },
  };
  const text = words.join("");
  const whole = {
    id: "resp_1",
    object: "response",
    created_at: 1_760_000_000,
    status: "completed",
    model,
    output: [
      {
        type: "message",
        id: "msg_1",
        role: "assistant",
        status: "completed",
        content: [{ type: "output_text", text, annotations: [] }],
      },
    ],
    usage,
  };
  if (request.json["stream"] !== true) return json(response, whole);
  await stream(request, response, [
    named("response.created", { type: "response.created", response: { ...whole, status: "in_progress", usage: null } }),
    ...words.map((delta) => named("response.output_text.delta", { type: "response.output_text.delta", delta })),
    named("response.completed", { type: "response.completed", response: whole }),
  ]);
}

/** Anthropic's messages: input counts come first, output counts last, each cumulative. */
export function anthropic(options: { everyMs?: number } = {}): ProviderHandler {
  const cache = { cache_read_input_tokens: 40, cache_creation_input_tokens: 10 };
  return async (request, response) => {
    const model = typeof request.json["model"] === "string" ? request.json["model"] : "claude-sonnet-4-5";
    const tools = Array.isArray(request.json["tools"]);
    const content = tools
      ? [{ type: "tool_use", id: "toolu_1", name: "weather", input: { city: "Rome" } }]
      : [{ type: "text", text: words.join("") }];
    const stop = tools ? "tool_use" : "end_turn";
    const common = { id: "msg_1", type: "message", role: "assistant", model, stop_sequence: null };
    if (request.json["stream"] !== true)
      return json(response, {
        ...common,
        content,
        stop_reason: stop,
        usage: { input_tokens: 50, output_tokens: 20, ...cache },
      });
    const start = {
      ...common,
      content: [],
      stop_reason: null,
      usage: { input_tokens: 50, output_tokens: 1, ...cache },
    };
    const block = tools ? { type: "tool_use", id: "toolu_1", name: "weather", input: {} } : { type: "text", text: "" };
    const deltas = tools
      ? ['{"city":', '"Rome"}'].map((partial_json) => ({ type: "input_json_delta", partial_json }))
      : words.map((text) => ({ type: "text_delta", text }));
    await stream(
      request,
      response,
      [
        named("message_start", { type: "message_start", message: start }),
        named("content_block_start", { type: "content_block_start", index: 0, content_block: block }),
        ...deltas.map((delta) => named("content_block_delta", { type: "content_block_delta", index: 0, delta })),
        named("content_block_stop", { type: "content_block_stop", index: 0 }),
        named("message_delta", {
          type: "message_delta",
          delta: { stop_reason: stop, stop_sequence: null },
          usage: { output_tokens: 20 },
        }),
        named("message_stop", { type: "message_stop" }),
      ],
      options,
    );
  };
}

/** Gemini's generateContent; counts in every event, thoughts beside the answer's tokens. */
export function gemini(): ProviderHandler {
  return async (request, response) => {
    const usageMetadata = {
      promptTokenCount: 100,
      candidatesTokenCount: 15,
      thoughtsTokenCount: 5,
      totalTokenCount: 120,
      cachedContentTokenCount: 40,
    };
    const part = (text: string, finish?: string) => ({
      candidates: [
        { content: { role: "model", parts: [{ text }] }, index: 0, ...(finish ? { finishReason: finish } : {}) },
      ],
      modelVersion: "gemini-2.5-flash",
      usageMetadata,
    });
    if (!request.path.includes(":streamGenerateContent")) return json(response, part(words.join(""), "STOP"));
    const last = words.length - 1;
    await stream(
      request,
      response,
      words.map((word, index) => data(part(word, index === last ? "STOP" : undefined))),
    );
  };
}

function data(value: unknown): string {
  return `data: ${JSON.stringify(value)}\n\n`;
}

function named(event: string, value: unknown): string {
  return `event: ${event}\n${data(value)}`;
}
