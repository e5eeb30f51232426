import { readFile } from "node:fs/promises";
import { dataLayout } from "#core/layout.ts";
import { apiUrl, type Instance } from "#cli/instance.ts";

/** What wrangler and the SDKs need in their environment to talk to `instance`. */
export async function wranglerEnvironment(instance: Instance): Promise<Record<string, string>> {
  const token = (await readFile(dataLayout(instance.data).token, "utf8")).trim();
  return {
    CLOUDFLARE_API_BASE_URL: apiUrl(instance),
    CLOUDFLARE_API_TOKEN: token,
    CLOUDFLARE_ACCOUNT_ID: instance.accountId,
    WRANGLER_SEND_METRICS: "false",
  };
}
