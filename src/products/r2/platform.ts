import type { WireHandler, WireRequest } from "#http/wire/server.ts";
import { publicLabel } from "#products/r2/public-host.ts";
import { publicBucketHandler } from "#products/r2/public-buckets.ts";
import { s3Handler } from "#products/r2/s3/s3-handler.ts";
import type { SqliteR2Store } from "#products/r2/sqlite-store.ts";

/** Everything of R2's that the public can reach: the S3 API, and public buckets under our domain and their owners'. */
export function r2PlatformHandler(options: {
  store: SqliteR2Store;
  appDomain: string;
  /** Host of the S3 endpoint. */
  endpoint: string;
  now?: () => number;
}): WireHandler {
  const { store, appDomain, endpoint, now = Date.now } = options;
  const subhost = (wire: WireRequest) => hostOf(wire).slice(0, -endpoint.length).replace(/\.$/, "");
  const s3 = s3Handler({ store, now, subhost });
  const pub = new RegExp(`^pub-([0-9a-f]{32})\\.${publicLabel}\\.${appDomain.replaceAll(".", "\\.")}$`);
  const buckets = publicBucketHandler({
    store,
    bucketOf(wire) {
      const host = hostOf(wire);
      const [, id] = pub.exec(host) ?? [];
      return id === undefined ? store.settings.bucketOfDomain(host) : store.settings.publicBucket(id);
    },
  });
  return (wire) => {
    const host = hostOf(wire);
    return host === endpoint || host.endsWith(`.${endpoint}`) ? s3(wire) : buckets(wire);
  };
}

/** Host in lower case, without a port. */
function hostOf(wire: WireRequest): string {
  return (wire.header("host") ?? "").replace(/:\d*$/, "").toLowerCase();
}
