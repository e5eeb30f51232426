import { Hono, type Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { z } from "zod";
import { ApiError } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";
import { failure, success, type ResultInfo } from "#http/envelope.ts";
import { apiErrors } from "#http/errors.ts";

/** Who asks: a token, and the accounts it may act for. */
export type Principal = { tokenId: string; accountIds: readonly string[]; email: string };
export type ApiEnv = { Variables: { principal: Principal } };
export type ApiContext = Context<ApiEnv>;
export type Api = Hono<ApiEnv>;

const log = createLogger("http.app");

/** Body bytes of an ordinary JSON request; routes that take more say so. */
const jsonBytesMax = 4 * 1024 * 1024;

/** A router in the v4 dialect: errors and unknown paths become envelopes. */
export function createApi(): Api {
  const app = new Hono<ApiEnv>();
  app.notFound((c) => render(c, apiErrors.noRoute(new URL(c.req.url).pathname)));
  app.onError((error, c) => {
    if (error instanceof ApiError) return render(c, error);
    log.error("a request failed", {
      error,
      method: c.req.method,
      path: new URL(c.req.url).pathname,
    });
    return render(c, apiErrors.internal());
  });
  return app;
}

/** A router to be mounted in another; errors reach the outer one. */
export function createRoutes(): Api {
  return new Hono<ApiEnv>();
}

export function ok(c: Context, result: unknown, info?: ResultInfo): Response {
  return c.json(success(result, info));
}

function render(c: Context, error: ApiError): Response {
  return c.json(failure(error.entries), error.status as ContentfulStatusCode);
}

/** The account of a path under `/accounts/:account_id`, which the guard in `auth.ts` has checked. */
export function accountOf(c: ApiContext): string {
  return param(c, "account_id");
}

/** A path parameter, decoded once. */
export function param(c: Context, name: string): string {
  const value = c.req.param(name);
  if (value === undefined) throw apiErrors.noRoute(new URL(c.req.url).pathname);
  return value;
}

/** What follows `marker` in the path as it was sent, decoded once: keys may contain `%2F` (wrangler-api §9). */
export function pathTail(c: Context, marker: string): string {
  const { pathname } = new URL(c.req.url);
  const at = pathname.indexOf(marker);
  try {
    return decodeURIComponent(pathname.slice(at + marker.length));
  } catch {
    throw apiErrors.invalid("", "the path is not valid percent-encoded UTF-8");
  }
}

/**
 * A JSON body checked against `schema`. The content type is not looked at: wrangler sends JSON as text/plain (wrangler-api §1.2).
 */
export async function readJson<T>(c: Context, schema: z.ZodType<T>, bytesMax = jsonBytesMax): Promise<T> {
  return parseJson(schema, Buffer.from(await readBody(c.req.raw, bytesMax)).toString("utf8"));
}

/** JSON text checked against `schema`. */
export function parseJson<T>(schema: z.ZodType<T>, text: string): T {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw apiErrors.invalidJson();
  }
  return parse(schema, json);
}

/** The query checked against `schema`. */
export function readQuery<T>(c: Context, schema: z.ZodType<T>): T {
  return parse(schema, c.req.query());
}

/** `value` checked against `schema`; the first problem becomes a 400 that names the field. */
function parse<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw apiErrors.invalid(issue?.path.join(".") ?? "", issue?.message ?? "invalid value");
}

/** The whole body; 413 as soon as it passes `bytesMax`. */
export async function readBody(request: Request, bytesMax: number): Promise<Uint8Array> {
  const announced = Number(request.headers.get("content-length") ?? 0);
  if (announced > bytesMax) throw apiErrors.tooLarge(bytesMax);
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of request.body ?? []) {
    size += piece.length;
    if (size > bytesMax) throw apiErrors.tooLarge(bytesMax);
    pieces.push(piece);
  }
  return Buffer.concat(pieces, size);
}

/** `page` and `per_page`, clamped to what a page may hold. */
export function pageOf(
  c: Context,
  { perPage, perPageMax }: { perPage: number; perPageMax: number },
): { page: number; perPage: number } {
  return {
    page: positive(c.req.query("page"), 1, Number.MAX_SAFE_INTEGER),
    perPage: positive(c.req.query("per_page"), perPage, perPageMax),
  };
}

function positive(text: string | undefined, otherwise: number, max: number): number {
  if (text === undefined || text === "") return otherwise;
  if (!/^[0-9]{1,12}$/.test(text) || Number(text) < 1) throw apiErrors.invalid("page", "must be a positive number");
  return Math.min(Number(text), max);
}
