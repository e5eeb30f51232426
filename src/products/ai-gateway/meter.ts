import { zstdDecompressSync, brotliDecompressSync, gunzipSync, inflateSync } from "node:zlib";
import type { Wire } from "#products/ai-gateway/providers/catalogue.ts";
import { limits } from "#products/ai-gateway/schema.ts";
import { isObject, mergeUsage, readUsage, type Usage } from "#products/ai-gateway/usage.ts";

/** What was read from an answer. */
export type Reading = {
  usage: Usage | undefined;
  /** As the answer names it. */
  model: string | undefined;
  /** The stream came to the end that its wire has; true for answers that are no streams. */
  complete: boolean;
  /** The answer says that it failed, although its status does not. */
  failed: boolean;
};

export type MeterOptions = {
  contentType: string;
  contentEncoding: string;
  wire: Wire;
  reasoningBeside: boolean;
};

/** Watches an answer go by; what it saw is read once, at the end. */
export interface Meter {
  push(piece: Buffer): void;
  finish(): Reading;
}

export function createMeter(options: MeterOptions): Meter {
  const isStream = options.contentType.startsWith("text/event-stream") && options.contentEncoding === "";
  return isStream ? new EventMeter(options) : new WholeMeter(options);
}

const newline = 10;
/** Marks of the events that say something on usage, failure or the end; others are passed over unread. */
const usageMarks = ['"usage', '"eval_count"'].map((text) => Buffer.from(text));
const failureMark = Buffer.from('"error"');
const dataMark = Buffer.from("data:");

/** Server-sent events: lines are looked at as they pass, and only those with a mark are kept. */
class EventMeter implements Meter {
  readonly #options: MeterOptions;
  #carry: Buffer | undefined;
  #first: Buffer | undefined;
  #last: Buffer | undefined;
  #opening: Buffer | undefined;
  #done = false;
  #failed = false;
  /** An event of a wire whose end is known. */
  #known = false;

  constructor(options: MeterOptions) {
    this.#options = options;
  }

  push(piece: Buffer): void {
    let from = 0;
    for (;;) {
      const at = piece.indexOf(newline, from);
      if (at < 0) break;
      const line = piece.subarray(from, at);
      this.#line(this.#carry ? Buffer.concat([this.#carry, line]) : line);
      this.#carry = undefined;
      from = at + 1;
    }
    if (from === piece.length) return;
    const rest = piece.subarray(from);
    const carried = this.#carry ? Buffer.concat([this.#carry, rest]) : rest;
    // The end of a line this long is never read: images come in such events.
    this.#carry = carried.length > limits.eventBytes ? carried.subarray(0, limits.eventBytes) : carried;
  }

  #line(line: Buffer): void {
    if (!line.subarray(0, dataMark.length).equals(dataMark)) return;
    this.#opening ??= line;
    if (isTheEnd(line, this.#options.wire)) this.#done = true;
    if (usageMarks.some((mark) => line.includes(mark))) {
      this.#first ??= line;
      this.#last = line;
    }
    if (line.includes(failureMark) && hasError(parseData(line))) this.#failed = true;
    this.#known ||= isKnown(line, this.#options.wire);
  }

  finish(): Reading {
    if (this.#carry) this.#line(this.#carry);
    this.#carry = undefined;
    const read = (line: Buffer | undefined) => readUsage(line && parseData(line), this.#options);
    const first = this.#first === this.#last ? undefined : read(this.#first);
    return {
      usage: mergeUsage(first, read(this.#last)),
      model: modelOf(this.#opening && parseData(this.#opening)),
      complete: this.#done || !this.#known,
      failed: this.#failed,
    };
  }
}

const ends: Record<Wire, readonly Buffer[]> = {
  openai: ["[DONE]", '"finish_reason":"', '"finish_reason": "', '"response.completed"', '"response.incomplete"'].map(
    (text) => Buffer.from(text),
  ),
  anthropic: [Buffer.from('"message_stop"'), Buffer.from('"message_stop" ')],
  gemini: [Buffer.from('"finishReason"')],
  other: [],
};

function isTheEnd(line: Buffer, wire: Wire): boolean {
  return ends[wire].some((mark) => line.includes(mark));
}

const begins: Record<Wire, readonly Buffer[]> = {
  openai: [Buffer.from('"chat.completion.chunk"'), Buffer.from('"response.created"')],
  anthropic: [Buffer.from('"message_start"')],
  gemini: [Buffer.from('"candidates"')],
  other: [],
};

function isKnown(line: Buffer, wire: Wire): boolean {
  return begins[wire].some((mark) => line.includes(mark));
}

/** Everything that is no stream of events: JSON, lines of JSON, Bedrock's binary frames, audio. */
class WholeMeter implements Meter {
  readonly #options: MeterOptions;
  readonly #pieces: Buffer[] = [];
  #bytes = 0;

  constructor(options: MeterOptions) {
    this.#options = options;
  }

  push(piece: Buffer): void {
    if (!/json|eventstream|text\//.test(this.#options.contentType)) return;
    this.#bytes += piece.length;
    this.#pieces.push(piece);
    while (this.#bytes > limits.meteredBytes) this.#bytes -= this.#pieces.shift()?.length ?? this.#bytes;
  }

  finish(): Reading {
    const text = decoded(Buffer.concat(this.#pieces), this.#options.contentEncoding)?.toString() ?? "";
    const message = lastMessage(text);
    const usage = mergeUsage(undefined, readUsage(message, this.#options) ?? embeddedUsage(text));
    return { usage, model: modelOf(message), complete: true, failed: hasError(message) };
  }
}

function lastMessage(text: string): unknown {
  const whole = parseJson(text);
  if (whole !== undefined) return Array.isArray(whole) ? whole.at(-1) : whole;
  // Ollama's own wire: one JSON object a line, the counts in the last.
  return parseJson(text.trimEnd().split("\n").at(-1) ?? "");
}

/** The last `"usage":{…}` among bytes that are no JSON as a whole: Bedrock frames its events in binary. */
function embeddedUsage(text: string) {
  const at = text.lastIndexOf('"usage":{');
  if (at < 0) return undefined;
  const from = at + '"usage":'.length;
  let depth = 0;
  for (let end = from; end < text.length; end++) {
    if (text[end] === "{") depth++;
    else if (text[end] === "}" && --depth === 0) return readUsage({ usage: parseJson(text.slice(from, end + 1)) });
  }
  return undefined;
}

/** The bytes without their `Content-Encoding`; undefined when that cannot be undone. */
function decoded(bytes: Buffer, encoding: string): Buffer | undefined {
  const options = { maxOutputLength: limits.meteredBytes };
  try {
    switch (encoding) {
      case "":
      case "identity":
        return bytes;
      case "gzip":
        return gunzipSync(bytes, options);
      case "deflate":
        return inflateSync(bytes, options);
      case "br":
        return brotliDecompressSync(bytes, options);
      case "zstd":
        return zstdDecompressSync(bytes, options);
    }
  } catch {
    // Cut short, or not what it says: nothing can be read from it, and the client gets it as it is.
  }
  return undefined;
}

/** The JSON of a `data:` line. */
export function parseData(line: Buffer): unknown {
  return parseJson(line.toString("utf8", dataMark.length).trim());
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** OpenRouter and Anthropic say in an event that the answer failed; its status was sent long before. */
export function hasError(message: unknown): boolean {
  if (!isObject(message)) return false;
  const { error } = message;
  return message["type"] === "error" || (error !== undefined && error !== null && error !== false && error !== "");
}

function modelOf(message: unknown): string | undefined {
  if (!isObject(message)) return undefined;
  const inner = isObject(message["message"]) ? message["message"] : message["response"];
  const model = message["model"] ?? message["modelVersion"] ?? (isObject(inner) ? inner["model"] : undefined);
  return typeof model === "string" ? model : undefined;
}
