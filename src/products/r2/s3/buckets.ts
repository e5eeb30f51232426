import type { WireResponse } from "#http/wire/server.ts";
import { limits, locationHints } from "#products/r2/schema.ts";
import { numberParam, xmlAnswer, type AccountCall, type BucketCall } from "#products/r2/s3/context.ts";
import { readXmlBody } from "#products/r2/s3/payload.ts";
import { S3Error } from "#products/r2/s3/s3-errors.ts";
import { parseXml } from "#products/r2/s3/xml.ts";

export async function listBuckets({ request, store, accountId }: AccountCall): Promise<WireResponse> {
  const { jurisdiction } = request;
  const limit = numberParam(request, "max-buckets", limits.bucketPage, limits.bucketPage);
  const [token, prefix] = [request.param("continuation-token"), request.param("prefix") ?? ""];
  const startAfter = token === undefined ? undefined : Buffer.from(token, "base64url").toString();
  const { buckets, more } = await store.listBuckets({
    accountId,
    jurisdiction,
    limit: Math.max(limit, 1),
    ...(prefix !== "" && { nameContains: prefix }),
    ...(startAfter !== undefined && { startAfter }),
  });
  const last = more ? buckets.at(-1) : undefined;
  return xmlAnswer("ListAllMyBucketsResult", {
    Buckets: {
      Bucket: buckets
        .filter(({ name }) => name.startsWith(prefix))
        .map(({ name, created }) => ({ Name: name, CreationDate: new Date(created).toISOString() })),
    },
    Owner: { ID: accountId, DisplayName: accountId },
    ContinuationToken: last && Buffer.from(last.name).toString("base64url"),
    Prefix: prefix || undefined,
  });
}

export async function createBucket(call: AccountCall): Promise<WireResponse> {
  const { request, verified, store, accountId } = call;
  const body = await readXmlBody(request, verified);
  const given = body.trim() === "" ? undefined : parseXml(body, "CreateBucketConfiguration").text("LocationConstraint");
  const wanted = given?.toLowerCase() ?? "";
  const location = locationHints.find((hint) => hint === wanted);
  if (!location && !["", "auto", "us-east-1"].includes(wanted)) {
    throw new S3Error(400, "InvalidLocationConstraint", "The specified location constraint is not valid.");
  }
  // Not `bucketName`, which is empty for a name that cannot be: the store says what is wrong with it.
  const name = request.bucket ?? "";
  await store.createBucket({ accountId, name, jurisdiction: request.jurisdiction }, { ...(location && { location }) });
  return { status: 200, headers: { location: `/${name}` } };
}

export async function deleteBucket({ request, store, accountId, bucket }: BucketCall): Promise<WireResponse> {
  await store.deleteBucket({ accountId, name: bucket.name, jurisdiction: request.jurisdiction });
  return { status: 204, reason: "No Content" };
}

export async function headBucket(): Promise<WireResponse> {
  return { status: 200 };
}

export async function getBucketLocation({ bucket }: BucketCall): Promise<WireResponse> {
  return xmlAnswer("LocationConstraint", bucket.location?.toUpperCase() ?? "auto");
}

/** R2 encrypts everything at rest and has no choice there; the others are the same for every bucket. */
export const fixedAnswers = {
  GetBucketEncryption: async () =>
    xmlAnswer("ServerSideEncryptionConfiguration", {
      Rule: { ApplyServerSideEncryptionByDefault: { SSEAlgorithm: "AES256" }, BucketKeyEnabled: true },
    }),
  GetBucketVersioning: async () => xmlAnswer("VersioningConfiguration", undefined),
  GetBucketTagging: async () => {
    throw new S3Error(404, "NoSuchTagSet", "The TagSet does not exist.");
  },
  GetObjectLockConfiguration: async () => {
    throw new S3Error(
      404,
      "ObjectLockConfigurationNotFoundError",
      "Object Lock configuration does not exist for this bucket.",
    );
  },
  GetBucketReplication: async () => {
    throw new S3Error(404, "ReplicationConfigurationNotFoundError", "The replication configuration was not found.");
  },
};
