import { accountOf, param, type ApiContext } from "#http/app.ts";
import { gatewayErrors } from "#products/ai-gateway/errors.ts";
import type { Gateway } from "#products/ai-gateway/schema.ts";
import type { GatewayStore } from "#products/ai-gateway/store.ts";

/** The gateway of a path, as one of the account's. */
export function gatewayOf(c: ApiContext, gateways: GatewayStore): Gateway {
  const gateway = gateways.find(accountOf(c), param(c, "gateway_id"));
  if (!gateway) throw gatewayErrors.notFound("Gateway");
  return gateway;
}
