import { z } from "zod";

/** A database as the control database knows it. Times are ISO texts. */
export type D1Database = {
  id: string;
  accountId: string;
  name: string;
  createdOn: string;
  /** Number of the d1 host that has its file. */
  host: number;
  locationHint: string | null;
  jurisdiction: string | null;
};

/** The names that `wrangler d1 create` and the dashboard allow. */
export const databaseName = /^[a-z0-9][a-z0-9_-]{0,63}$/i;

/** https://developers.cloudflare.com/d1/configuration/data-location/. Labels here: there is one place. */
export const newDatabase = z.looseObject({
  name: z.string(),
  primary_location_hint: z.enum(["wnam", "enam", "weur", "eeur", "apac", "oc"]).optional(),
  jurisdiction: z.enum(["eu", "fedramp", "us"]).nullish(),
});

const value = z.union([z.string(), z.number(), z.boolean(), z.null()]);
const query = z.looseObject({ sql: z.string(), params: z.array(value).nullish() });

/** The body of `/query` and `/raw`: one query, a `batch` of them, or an array. */
export const queryBody = z.union([
  z.array(query).min(1),
  z.looseObject({ batch: z.array(query).min(1) }).transform(({ batch }) => batch),
  query.transform((single) => [single]),
]);

/** The body of `/import`, https://developers.cloudflare.com/api/resources/d1/subresources/database/methods/import/. */
export const importBody = z.discriminatedUnion("action", [
  z.looseObject({ action: z.literal("init"), etag: z.string() }),
  z.looseObject({ action: z.literal("ingest"), etag: z.string(), filename: z.string() }),
  z.looseObject({ action: z.literal("poll"), current_bookmark: z.string() }),
]);

/** The body of `/export`, https://developers.cloudflare.com/api/resources/d1/subresources/database/methods/export/. */
export const exportBody = z.looseObject({
  output_format: z.literal("polling"),
  current_bookmark: z.string().nullish(),
  dump_options: z
    .looseObject({
      no_schema: z.boolean().nullish(),
      no_data: z.boolean().nullish(),
      tables: z.array(z.string()).nullish(),
    })
    .nullish(),
});
