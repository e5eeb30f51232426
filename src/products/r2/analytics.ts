import { ApiError } from "#core/errors.ts";
import type { Datasets } from "#http/analytics.ts";
import { jurisdictions } from "#products/r2/schema.ts";
import type { R2Settings } from "#products/r2/settings-store.ts";

/** What wrangler's `r2 bucket info` asks for (https://developers.cloudflare.com/r2/platform/metrics-analytics/): a bucket as it is now. */
export function r2Datasets(settings: R2Settings): Datasets {
  return {
    async r2StorageAdaptiveGroups({ accountId, filter }) {
      const given = filter["bucketName"];
      if (typeof given !== "string") return [];
      // `eu_my-bucket` in a jurisdiction; names of buckets have no underscores.
      const [before = "", after] = given.split("_", 2);
      const jurisdiction = jurisdictions.find((one) => one === before) ?? "default";
      try {
        const usage = await settings.usage({ accountId, name: after ?? before, jurisdiction });
        const { objects, bytes, metadataBytes, uploads } = usage;
        return [
          {
            max: { objectCount: objects, payloadSize: bytes, metadataSize: metadataBytes, uploadCount: uploads },
            dimensions: { datetime: new Date().toISOString(), bucketName: given },
          },
        ];
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) return [];
        throw error;
      }
    },
  };
}
