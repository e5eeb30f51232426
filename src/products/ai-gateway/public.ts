import { ApiError } from "#core/errors.ts";
import type { WireHandler, WireRequest } from "#http/wire/server.ts";
import { WireError } from "#http/wire/head.ts";
import { parseTarget, type GatewayCall } from "#products/ai-gateway/call.ts";
import { gatewayErrorBody, gatewayErrors } from "#products/ai-gateway/errors.ts";
import type { Pipeline } from "#products/ai-gateway/pipeline.ts";
import { limits } from "#products/ai-gateway/schema.ts";

/** The gateways' own host: `/v1/<account>/<gateway>/…`. */
export function publicHandler(pipeline: Pipeline): WireHandler {
  return async (request) => {
    const target = parseTarget(request.target);
    if (!target) return failure(gatewayErrors.notFound(request.target.split("?")[0] ?? ""));
    const body = await readBody(request);
    if (body instanceof ApiError) return failure(body);
    const call: GatewayCall = {
      ...target,
      method: request.method,
      headers: headersOf(request),
      body,
      signal: request.signal,
      trusted: false,
      workerId: null,
    };
    return pipeline(call);
  };
}

/** All of it: what is not held cannot be sent to a second provider. */
export async function readBody(request: WireRequest): Promise<Buffer | ApiError> {
  try {
    return await request.bytes(limits.requestBytes);
  } catch (error) {
    if (error instanceof WireError && error.status === 413) return gatewayErrors.tooLarge(limits.requestBytes);
    throw error;
  }
}

/** Names in lower case; what comes twice is joined as RFC 9110 §5.3 says. */
export function headersOf(request: WireRequest): Map<string, string> {
  const headers = new Map<string, string>();
  for (let index = 0; index < request.fields.length; index += 2) {
    const [name = "", value = ""] = request.fields.slice(index, index + 2);
    const before = headers.get(name);
    headers.set(name, before === undefined ? value : `${before}, ${value}`);
  }
  return headers;
}

function failure(error: ApiError) {
  const headers = { "content-type": "application/json" };
  return { status: error.status, reason: error.message, headers, body: gatewayErrorBody(error) };
}
