import { newUuid } from "#core/ids.ts";
import { createLogger } from "#core/log.ts";
import { WireError } from "#http/wire/head.ts";
import type { WireHandler, WireRequest, WireResponse } from "#http/wire/server.ts";
import { corsHeaders, preflight } from "#products/r2/cors.ts";
import { r2Errors } from "#products/r2/errors.ts";
import * as rules from "#products/r2/s3/bucket-rules.ts";
import * as buckets from "#products/r2/s3/buckets.ts";
import { mayUse, type AccountCall, type BucketCall, type ObjectCall } from "#products/r2/s3/context.ts";
import * as lists from "#products/r2/s3/lists.ts";
import * as objects from "#products/r2/s3/objects.ts";
import { operationOf, type Operation } from "#products/r2/s3/operations.ts";
import { S3Error, s3Errors, toS3Error } from "#products/r2/s3/s3-errors.ts";
import { S3Request } from "#products/r2/s3/s3-request.ts";
import { screenHeaders, type Screen } from "#products/r2/s3/screening.ts";
import { verifySignature } from "#products/r2/s3/signature.ts";
import * as uploads from "#products/r2/s3/uploads.ts";
import { xmlDocument } from "#products/r2/s3/xml.ts";
import type { SqliteR2Store } from "#products/r2/sqlite-store.ts";

const log = createLogger("r2.s3");

/** What an operation needs, and who does it. `account`: a right to the account's buckets, not only to what is in one. */
type Rule = { write: boolean; screen: Screen } & (
  | { on: "account"; run: (call: AccountCall) => Promise<WireResponse> }
  | { on: "bucket" | "settings"; run: (call: BucketCall) => Promise<WireResponse> }
  | { on: "object"; run: (call: ObjectCall) => Promise<WireResponse> }
);

const read = { write: false, screen: "read" } as const;
const write = { write: true, screen: "write" } as const;

const operations: Record<Operation, Rule> = {
  ListBuckets: { ...read, on: "account", run: buckets.listBuckets },
  CreateBucket: { ...write, on: "account", run: buckets.createBucket },
  DeleteBucket: { write: true, screen: "delete", on: "settings", run: buckets.deleteBucket },
  HeadBucket: { ...read, on: "bucket", run: buckets.headBucket },
  GetBucketLocation: { ...read, on: "bucket", run: buckets.getBucketLocation },
  GetBucketEncryption: { ...read, on: "bucket", run: buckets.fixedAnswers.GetBucketEncryption },
  GetBucketVersioning: { ...read, on: "bucket", run: buckets.fixedAnswers.GetBucketVersioning },
  GetBucketTagging: { ...read, on: "bucket", run: buckets.fixedAnswers.GetBucketTagging },
  GetObjectLockConfiguration: { ...read, on: "bucket", run: buckets.fixedAnswers.GetObjectLockConfiguration },
  GetBucketReplication: { ...read, on: "bucket", run: buckets.fixedAnswers.GetBucketReplication },
  GetBucketCors: { ...read, on: "settings", run: rules.getCors },
  PutBucketCors: { ...write, on: "settings", run: rules.putCors },
  DeleteBucketCors: { ...write, on: "settings", run: rules.deleteCors },
  GetBucketLifecycleConfiguration: { ...read, on: "settings", run: rules.getLifecycle },
  PutBucketLifecycleConfiguration: { ...write, on: "settings", run: rules.putLifecycle },
  DeleteBucketLifecycle: { ...write, on: "settings", run: rules.deleteLifecycle },
  ListObjects: { ...read, on: "bucket", run: async (call) => lists.listObjects(call, 1) },
  ListObjectsV2: { ...read, on: "bucket", run: async (call) => lists.listObjects(call, 2) },
  ListMultipartUploads: { ...read, on: "bucket", run: uploads.listUploads },
  DeleteObjects: { write: true, screen: "delete", on: "bucket", run: objects.deleteObjects },
  GetObject: { ...read, on: "object", run: objects.getObject },
  HeadObject: { ...read, on: "object", run: objects.getObject },
  PutObject: { ...write, on: "object", run: objects.putObject },
  CopyObject: { write: true, screen: "copy", on: "object", run: objects.copyObject },
  DeleteObject: { write: true, screen: "delete", on: "object", run: objects.deleteObject },
  CreateMultipartUpload: { ...write, on: "object", run: uploads.createUpload },
  UploadPart: { write: true, screen: "part", on: "object", run: uploads.uploadPart },
  UploadPartCopy: { write: true, screen: "part", on: "object", run: uploads.uploadPartCopy },
  CompleteMultipartUpload: { write: true, screen: "delete", on: "object", run: uploads.completeUpload },
  AbortMultipartUpload: { write: true, screen: "delete", on: "object", run: uploads.abortUpload },
  ListParts: { ...read, on: "object", run: uploads.listParts },
};

/** R2's S3 API, https://developers.cloudflare.com/r2/api/s3/api/. `subhost`: what stands before the endpoint in the host's name. */
export function s3Handler(options: {
  store: SqliteR2Store;
  now: () => number;
  subhost: (wire: WireRequest) => string;
}): WireHandler {
  const { store, now } = options;
  return async (wire) => {
    const requestId = newUuid();
    let answer: WireResponse;
    try {
      const request = new S3Request(wire, options.subhost(wire));
      answer = wire.method === "OPTIONS" ? corsPreflight(store, request) : await answerRequest({ store, now }, request);
    } catch (error) {
      if (error instanceof WireError) throw error;
      answer = errorAnswer(error, wire, requestId);
      await drop(wire);
    }
    return { ...answer, headers: { ...answer.headers, "x-amz-request-id": requestId } };
  };
}

async function answerRequest(
  { store, now }: { store: SqliteR2Store; now: () => number },
  request: S3Request,
): Promise<WireResponse> {
  const verified = verifySignature(request, store.settings, now());
  const operation = operationOf(request);
  const rule = operations[operation];
  const { accountId } = verified.key;
  const { jurisdiction } = request;
  const name = request.bucketName;
  const whole = rule.on === "account" || rule.on === "settings";
  if (!mayUse(verified.key, whole ? undefined : { name, jurisdiction }, rule.write)) throw s3Errors.accessDenied();
  screenHeaders(request, rule.screen);
  const call = { request, verified, store, accountId };
  if (rule.on === "account") return rule.run(call);
  const bucket = await store.getBucket({ accountId, name, jurisdiction });
  const cors = request.header("origin") === undefined ? {} : corsHeaders(store.settings.cors(bucket.id), request.wire);
  try {
    const answer =
      rule.on === "object"
        ? await rule.run({ ...call, bucket, key: request.key ?? "" })
        : await rule.run({ ...call, bucket });
    return { ...answer, headers: { ...answer.headers, ...cors } };
  } catch (error) {
    // A page must be able to read what went wrong as well.
    throw toS3Error(error) && Object.keys(cors).length > 0 ? new WithCors(error, cors) : error;
  }
}

class WithCors extends Error {
  readonly headers: Record<string, string>;
  constructor(cause: unknown, headers: Record<string, string>) {
    super("an answer for another origin", { cause });
    this.headers = headers;
  }
}

/** A preflight is not signed, and browsers ask before they sign: what is allowed is no secret. */
function corsPreflight(store: SqliteR2Store, request: S3Request): WireResponse {
  const keyId = request.param("X-Amz-Credential")?.split("/")[0];
  const found = keyId === undefined ? undefined : store.settings.accessKey(keyId);
  const name = request.bucketName;
  const answer = preflight(
    found ? store.settings.corsOfName(name, found.key.accountId) : store.settings.corsOfName(name),
    request.wire,
  );
  if (!answer) throw s3Errors.corsForbidden();
  return answer;
}

function errorAnswer(thrown: unknown, wire: WireRequest, requestId: string): WireResponse {
  const [error, headers] = thrown instanceof WithCors ? [thrown.cause, thrown.headers] : [thrown, {}];
  const known = toS3Error(error);
  if (!known) log.error("a request failed", { error, method: wire.method, requestId });
  const shown = known ?? toS3Error(r2Errors.internal()) ?? new S3Error(500, "InternalError", "");
  const body = xmlDocument("Error", { Code: shown.code, Message: shown.message, RequestId: requestId }, "");
  return { status: shown.status, reason: shown.code, headers: { "content-type": "application/xml", ...headers }, body };
}

/** Bytes that are read only to be dropped, ours: a client that still sends would else see a broken pipe and not the answer. */
const droppedBytes = 64 * 1024 * 1024;

async function drop(wire: WireRequest): Promise<void> {
  if ((wire.contentLength ?? 0) > droppedBytes) return;
  let size = 0;
  try {
    for await (const piece of wire.stream()) if ((size += piece.length) > droppedBytes) return;
  } catch {
    // Whoever sent it has gone.
  }
}
