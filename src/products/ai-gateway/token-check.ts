import { createHash } from "node:crypto";
import { request } from "node:http";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { gatewayErrors } from "#products/ai-gateway/errors.ts";
import { limits } from "#products/ai-gateway/schema.ts";
import type { TokenCheck } from "#products/ai-gateway/pipeline.ts";

/** Asks the API behind the unix socket `path`, which knows the tokens, and believes it for a while. */
export function tokenCheck(path: string): TokenCheck {
  const known = new Map<string, { mayAct: boolean; until: number }>();
  return async (accountId, token) => {
    const key = createHash("sha256").update(`${accountId} ${token}`).digest("base64");
    const before = known.get(key);
    if (before && before.until > performance.now()) return before.mayAct;
    const mayAct = await ask(path, accountId, token);
    if (known.size >= tokensKnown) known.clear();
    known.set(key, { mayAct, until: performance.now() + limits.tokenMs });
    return mayAct;
  };
}

const tokensKnown = 4096;
const askMs = 5000;

async function ask(path: string, accountId: string, token: string): Promise<boolean> {
  const outgoing = request({
    socketPath: path,
    path: `/client/v4/accounts/${accountId}`,
    headers: { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(askMs),
  });
  outgoing.end();
  let response: IncomingMessage;
  try {
    [response] = (await once(outgoing, "response")) as [IncomingMessage];
  } catch {
    throw gatewayErrors.cannotAuthenticate();
  }
  response.resume();
  if ((response.statusCode ?? 500) >= 500) throw gatewayErrors.cannotAuthenticate();
  return response.statusCode === 200;
}
