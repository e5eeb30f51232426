import type { Config } from "#config.ts";
import type { AccountStore } from "#products/accounts/store.ts";
import { publicLabel, requestBytesMax } from "#products/r2/public-host.ts";
import type { Worker } from "#products/workers/schema.ts";
import type { WorkerAddress } from "#products/workers/wire.ts";
import type { Route } from "#runtime/routes.ts";
import { workerHost, type PlatformRoutes } from "#runtime/table.ts";

/** Labels below the app domain that the platform keeps for itself (DESIGN.md, Names and addresses). */
export const reservedNames: ReadonlySet<string> = new Set([
  "s3",
  "r2",
  "gateway",
  "pages",
  "console",
  "api",
  "access",
  "www",
]);

/** Host of R2's S3 endpoint. */
export function s3Host({ s3Host: given, appDomain }: Config): string {
  return given ?? `s3.${appDomain}`;
}

/** The S3 endpoint, buckets' hosts below it, public buckets under our domain and their owners', and AI Gateway. */
export function platformRoutes(
  config: Config,
  sockets: { s3: string; gateway: string },
): (bucketHosts: readonly string[], isReady: (service: string) => boolean) => PlatformRoutes {
  const route: Route = { kind: "platform", socket: sockets.s3, bodyBytesMax: requestBytesMax };
  const endpoint = s3Host(config);
  const below = [`*.${endpoint}`, `*.${publicLabel}.${config.appDomain}`];
  const patterns = below.map((host) => ({ host, path: "/*", route }));
  return (bucketHosts, isReady) => ({
    hosts: {
      ...Object.fromEntries([...bucketHosts, endpoint].map((host) => [host, route])),
      [gatewayHost(config)]: { kind: "platform", socket: sockets.gateway, ...(isReady("ai") ? {} : { asleep: "ai" }) },
    },
    patterns,
  });
}

/** `scheme://host[:port]` of a public host. */
export function publicUrl(config: Config, host: string): string {
  // Behind a proxy that ends TLS, its port is what people see.
  const port = config.publicScheme === "https" || config.port === 80 ? "" : `:${config.port}`;
  return `${config.publicScheme}://${host}${port}`;
}

/**
 * The first account's subdomain when the app domain is one on workers.dev: older wranglers print
 * `<worker>.<subdomain>.workers.dev` whatever the API says of addresses (wrangler-api §3.8), and that is then the truth.
 */
export function workersDevSubdomain(appDomain: string): string | undefined {
  return /^([a-z0-9-]+)\.workers\.dev$/.exec(appDomain)?.[1];
}

/** Where AI Gateway answers. */
export function gatewayHost(config: Config): string {
  return `gateway.${config.appDomain}`;
}

/** The first account's Workers are directly below the app domain, others' below their account's label. */
export function accountLabels(accounts: readonly { id: string; subdomain: string }[]): Map<string, string | undefined> {
  return new Map(accounts.map(({ id, subdomain }, index) => [id, index === 0 ? undefined : subdomain]));
}

/** Where a Worker answers, and what its previews' hosts end in. */
export function workerAddress(config: Config, accounts: AccountStore): (worker: Worker) => Promise<WorkerAddress> {
  return async (worker) => {
    const host = workerHost(worker, {
      accountLabels: accountLabels(await accounts.list()),
      appDomain: config.appDomain,
    });
    const url = publicUrl(config, host);
    return { url, previewSuffix: `-${url.slice(url.indexOf("//") + 2)}` };
  };
}
