import type { MiddlewareHandler } from "hono";
import type { ApiEnv, Principal } from "#http/app.ts";
import { apiErrors } from "#http/errors.ts";

/** Who a bearer token stands for; undefined when it stands for nobody. */
export type TokenVerifier = (token: string) => Promise<Principal | undefined>;

const bearer = /^Bearer +([!-~]{1,512})$/i;

/** Every request below needs a token that is known; nothing behind it runs otherwise. */
export function requireToken(verify: TokenVerifier): MiddlewareHandler<ApiEnv> {
  return async (c, next) => {
    const header = c.req.header("authorization");
    if (header === undefined && c.req.header("x-auth-key") !== undefined) throw apiErrors.globalKey();
    const token = bearer.exec(header ?? "")?.[1];
    const principal = token === undefined ? undefined : await verify(token);
    if (!principal)
      throw new URL(c.req.url).pathname.endsWith("/user/tokens/verify")
        ? apiErrors.invalidToken()
        : apiErrors.authentication();
    c.set("principal", principal);
    await next();
  };
}

/** Below `/accounts/:account_id`: an account that the token cannot act for looks like one that does not exist. */
export function requireAccount(): MiddlewareHandler<ApiEnv> {
  return async (c, next) => {
    const account = c.req.param("account_id");
    if (account === undefined || !c.get("principal").accountIds.includes(account)) {
      throw apiErrors.noRoute(new URL(c.req.url).pathname);
    }
    await next();
  };
}
