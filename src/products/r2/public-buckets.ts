import { ApiError } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";
import { WireError } from "#http/wire/head.ts";
import type { WireHandler, WireRequest, WireResponse } from "#http/wire/server.ts";
import { corsHeaders, preflight } from "#products/r2/cors.ts";
import { r2Errors } from "#products/r2/errors.ts";
import type { Bucket, RangeRequest } from "#products/r2/schema.ts";
import { serveObject } from "#products/r2/serve-object.ts";
import type { SqliteR2Store } from "#products/r2/sqlite-store.ts";

const log = createLogger("r2.public");

/** Objects of public buckets for browsers, https://developers.cloudflare.com/r2/buckets/public-buckets/. Nothing is listed. */
export function publicBucketHandler(options: {
  store: SqliteR2Store;
  bucketOf: (wire: WireRequest) => Bucket | undefined;
}): WireHandler {
  const { store } = options;
  return async (wire) => {
    const bucket = options.bucketOf(wire);
    if (!bucket) return page(wire, 404, "Not Found", "There is no public bucket here.");
    const rules = wire.header("origin") === undefined ? [] : store.settings.cors(bucket.id);
    if (wire.method === "OPTIONS") {
      return preflight(rules, wire) ?? page(wire, 403, "Forbidden", "This CORS request is not allowed.");
    }
    if (wire.method !== "GET" && wire.method !== "HEAD") {
      const answer = page(wire, 405, "Method Not Allowed", "Objects can only be read here.");
      return { ...answer, headers: { ...answer.headers, allow: "GET, HEAD, OPTIONS" } };
    }
    const cors = corsHeaders(rules, wire);
    const answer = await serve(store, bucket, wire);
    return { ...answer, headers: { ...answer.headers, ...cors } };
  };
}

async function serve(store: SqliteR2Store, bucket: Bucket, wire: WireRequest): Promise<WireResponse> {
  try {
    const key = keyOf(wire);
    if (key === undefined) throw r2Errors.noSuchKey();
    return await serveObject(
      store,
      { bucketId: bucket.id, key },
      {
        method: wire.method,
        header: (name) => wire.headerUtf8(name),
        parseRange,
      },
    );
  } catch (error) {
    if (error instanceof WireError) throw error;
    if (!(error instanceof ApiError)) {
      log.error("a request failed", { error, bucket: bucket.id });
      return page(wire, 500, "Internal Server Error", "The object cannot be served.");
    }
    switch (error.status) {
      case 404:
        return page(wire, 404, "Not Found", "This object does not exist or is not publicly accessible.");
      case 412:
        return page(wire, 412, "Precondition Failed", "The object is not what the request says it must be.");
      case 416:
        return page(wire, 416, "Range Not Satisfiable", "The object does not have these bytes.");
      case 400:
      case 403:
        return page(wire, 403, "Forbidden", "This object is not publicly accessible.");
      default:
        return page(wire, 500, "Internal Server Error", "The object cannot be served.");
    }
  }
}

/** One range as RFC 9110 has it; anything else means the whole object. */
function parseRange(text: string): RangeRequest | undefined {
  const [, first = "", last = "", suffix] = /^bytes=(?:(\d{1,15})-(\d{0,15})|-(\d{1,15}))$/i.exec(text.trim()) ?? [];
  if (suffix !== undefined) return { suffix: Number(suffix) };
  if (first === "" || (last !== "" && Number(last) < Number(first))) return undefined;
  return last === "" ? { offset: Number(first) } : { offset: Number(first), length: Number(last) - Number(first) + 1 };
}

function keyOf({ target }: WireRequest): string | undefined {
  const mark = target.indexOf("?");
  try {
    return decodeURIComponent(mark < 0 ? target : target.slice(0, mark)).slice(1) || undefined;
  } catch {
    return undefined;
  }
}

function page(wire: WireRequest, status: number, reason: string, text: string): WireResponse {
  const headers = { "content-type": "text/html; charset=utf-8", "cache-control": "no-store" };
  const body = `<!doctype html><html lang="en"><title>${reason}</title><h1>${reason}</h1><p>${text}</p></html>\n`;
  return { status, reason, headers, body };
}
