import { z } from "zod";
import { accountOf, createRoutes, ok, readJson, type Api, type ApiContext } from "#http/app.ts";
import { bucketRef, jurisdictionOf } from "#products/r2/bucket-ref.ts";
import { r2Errors } from "#products/r2/errors.ts";
import {
  limits,
  locationHints,
  storageClasses,
  type Bucket,
  type BucketListOptions,
  type BucketRef,
  type StorageClass,
} from "#products/r2/schema.ts";
import { deleteObject, getObject, listObjects, pageSize, putObject } from "#products/r2/routes-objects.ts";
import { settingRoutes, type SettingParts } from "#products/r2/routes-settings.ts";
import type { R2Store } from "#products/r2/store.ts";

/**
 * R2's part of the v4 API, to be mounted under `/accounts/:account_id/r2`
 * (https://developers.cloudflare.com/api/resources/r2/, wrangler-api §9).
 */
export function r2Routes(parts: SettingParts): Api {
  const { store } = parts;
  const app = createRoutes();
  app.get("/buckets", async (c) => listBuckets(c, store));
  app.post("/buckets", async (c) => createBucket(c, store));
  app.get("/buckets/:bucket", async (c) => ok(c, bucketJson(await store.getBucket(bucketRef(c)))));
  app.patch("/buckets/:bucket", async (c) => {
    const storageClass = storageClassOf(c);
    if (!storageClass) throw r2Errors.storageClass();
    return ok(c, bucketJson(await store.setStorageClass(bucketRef(c), storageClass)));
  });
  app.delete("/buckets/:bucket", async (c) => {
    await deleteBucket(bucketRef(c), parts);
    return ok(c, {});
  });
  app.get("/buckets/:bucket/objects", async (c) => listObjects(c, store, bucketRef(c)));
  app.get("/buckets/:bucket/objects/*", async (c) => getObject(c, store, bucketRef(c)));
  app.put("/buckets/:bucket/objects/*", async (c) => putObject(c, store, bucketRef(c), storageClassOf(c)));
  app.delete("/buckets/:bucket/objects/*", async (c) => deleteObject(c, store, bucketRef(c)));
  app.route("/buckets/:bucket", settingRoutes(parts));
  return app;
}

/** Its custom domains go with it. */
async function deleteBucket(ref: BucketRef, { store, settings, hosts, settle }: SettingParts): Promise<void> {
  const { id } = await store.getBucket(ref);
  const domains = await settings.listDomains(ref);
  await store.deleteBucket(ref);
  for (const { domain } of domains) await hosts.release({ host: domain, bucketId: id });
  if (domains.length > 0) await settle();
}

const newBucket = z.object({
  name: z.string(),
  storageClass: z.enum(storageClasses).optional(),
  locationHint: z
    .string()
    .toLowerCase()
    .pipe(z.enum(["", ...locationHints]))
    .optional(),
});

async function createBucket(c: ApiContext, store: R2Store): Promise<Response> {
  const { name, storageClass, locationHint } = await readJson(c, newBucket);
  const bucket = await store.createBucket(
    { accountId: accountOf(c), name, jurisdiction: jurisdictionOf(c) },
    { ...(storageClass && { storageClass }), ...(locationHint && { location: locationHint }) },
  );
  return ok(c, bucketJson(bucket));
}

/** wrangler asks for one page and does not follow cursors, so a page is as large as it may be unless told otherwise. */
async function listBuckets(c: ApiContext, store: R2Store): Promise<Response> {
  const query = (name: string) => c.req.query(name) || undefined;
  const cursor = query("cursor");
  const startAfter = cursor === undefined ? query("start_after") : Buffer.from(cursor, "base64url").toString();
  const nameContains = query("name_contains");
  const options: BucketListOptions = {
    accountId: accountOf(c),
    jurisdiction: jurisdictionOf(c),
    limit: pageSize(query("per_page"), limits.bucketPage),
    descending: query("direction") === "desc",
    ...(startAfter !== undefined && { startAfter }),
    ...(nameContains !== undefined && { nameContains }),
  };
  const { buckets, more } = await store.listBuckets(options);
  const last = more ? buckets.at(-1) : undefined;
  return ok(
    c,
    { buckets: buckets.map(bucketJson) },
    { per_page: options.limit, cursor: last ? Buffer.from(last.name).toString("base64url") : "" },
  );
}

function storageClassOf(c: ApiContext): StorageClass | undefined {
  const given = c.req.header("cf-r2-storage-class");
  if (given === undefined || given === "") return undefined;
  const storageClass = storageClasses.find((name) => name === given);
  if (!storageClass) throw r2Errors.storageClass();
  return storageClass;
}

function bucketJson({ name, jurisdiction, location, storageClass, created }: Bucket) {
  return {
    name,
    creation_date: new Date(created).toISOString(),
    location,
    storage_class: storageClass,
    jurisdiction,
  };
}
