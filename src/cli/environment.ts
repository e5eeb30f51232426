import { readToken } from "#cli/client.ts";
import { apiUrl, type Instance } from "#cli/instance.ts";

/** What wrangler and the SDKs need in their environment to talk to `instance`. */
export async function wranglerEnvironment(instance: Instance): Promise<Record<string, string>> {
  return {
    CLOUDFLARE_API_BASE_URL: apiUrl(instance),
    CLOUDFLARE_API_TOKEN: await readToken(instance),
    CLOUDFLARE_ACCOUNT_ID: instance.accountId,
    WRANGLER_SEND_METRICS: "false",
  };
}
