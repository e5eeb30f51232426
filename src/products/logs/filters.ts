import { z } from "zod";
import type { LogEvent } from "#products/logs/schema.ts";

/**
 * What a listener wants to see, in the words of Cloudflare's tail (`wrangler tail`'s options become these, its
 * `tail/filters.ts`). A message is shown when it passes all of them; one filter's list is passed by any of its members.
 */
export type TailFilter = z.infer<typeof filter>;

const limits = {
  /** Filters of one listener, members of one filter, and characters of a text. Cloudflare publishes none. */
  filters: 32,
  members: 64,
  textLength: 1024,
} as const;

const text = z.string().min(1).max(limits.textLength);
const some = <T extends z.ZodType>(member: T) => z.array(member).min(1).max(limits.members);

const filter = z
  .strictObject({
    sampling_rate: z.number().gt(0).max(1).optional(),
    outcome: some(z.enum(["ok", "canceled", "exception", "exceededCpu", "exceededMemory", "unknown"])).optional(),
    method: some(text).optional(),
    header: z.strictObject({ key: text, query: z.string().max(limits.textLength).optional() }).optional(),
    client_ip: some(text).optional(),
    query: text.optional(),
    scriptVersion: text.optional(),
  })
  .refine((members) => Object.values(members).filter((value) => value !== undefined).length === 1, {
    message: "a filter has exactly one member",
  });

/** Body of `POST …/tails`. */
export const tailRequest = z.object({ filters: z.array(filter).max(limits.filters).default([]) });

/** Whether a listener wants an event of a version. */
export type Accepts = (event: LogEvent, versionId: string) => boolean;

/** `self` in a `client_ip` filter is `address`: that of whoever asks. */
export function acceptsOf(filters: readonly TailFilter[], address: string | undefined): Accepts {
  const tests = filters.map((one) => testOf(one, address));
  return (event, versionId) => tests.every((passes) => passes(event, versionId));
}

function testOf(one: TailFilter, address: string | undefined): Accepts {
  const { sampling_rate: rate, outcome, method, header, client_ip: addresses, query, scriptVersion } = one;
  if (rate !== undefined) return () => Math.random() < rate;
  if (outcome) return (event) => (outcome as string[]).includes(event.outcome);
  if (method) {
    const methods = new Set(method.map((name) => name.toUpperCase()));
    return (event) => methods.has(requestOf(event)?.method?.toUpperCase() ?? "");
  }
  if (header) {
    const name = header.key.toLowerCase();
    return (event) => headerOf(event, name)?.includes(header.query ?? "") ?? false;
  }
  if (addresses) {
    const wanted = new Set(addresses.map((wish) => plainAddress(wish === "self" ? address : wish)));
    return (event) => wanted.has(plainAddress(headerOf(event, "cf-connecting-ip")) ?? "");
  }
  if (query !== undefined)
    return (event) => event.logs.some(({ message }) => message.some((part) => says(part, query)));
  return (_, versionId) => versionId === scriptVersion;
}

type TailRequestInfo = { method?: string; headers?: Record<string, string | undefined> };

function requestOf(event: LogEvent): TailRequestInfo | undefined {
  return event.event?.["request"] as TailRequestInfo | undefined;
}

function headerOf(event: LogEvent, name: string): string | undefined {
  const headers = requestOf(event)?.headers;
  return headers && Object.hasOwn(headers, name) ? headers[name] : undefined;
}

function says(part: unknown, query: string): boolean {
  return (typeof part === "string" ? part : (JSON.stringify(part) ?? "")).includes(query);
}

/** This machine has several addresses for itself, and which one a program takes is chance. */
function plainAddress(address: string | undefined): string | undefined {
  const bare = address?.toLowerCase().replace(/^::ffff:(?=\d+\.)/, "");
  return bare === "::1" || bare?.startsWith("127.") ? "loopback" : bare;
}
