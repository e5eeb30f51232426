import { createHash, randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import {
  CopyObjectCommand,
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteBucketCorsCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetBucketAclCommand,
  GetBucketCorsCommand,
  GetBucketEncryptionCommand,
  GetBucketLifecycleConfigurationCommand,
  GetBucketLocationCommand,
  GetBucketPolicyCommand,
  GetBucketVersioningCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListObjectsCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  PutBucketCorsCommand,
  PutBucketLifecycleConfigurationCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  type ChecksumAlgorithm,
  type S3Client,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { s3Bytes, s3Client, s3ErrorOf } from "../support/s3-client.ts";
import { S3Endpoint, s3Account } from "../support/s3-endpoint.ts";

let endpoint: S3Endpoint;
let s3: S3Client;
const Bucket = "sdk-bucket";
const MiB = 1024 * 1024;
const bytesOf = (Key: string, more = {}) => s3Bytes(s3, { Bucket, Key, ...more });

beforeAll(async () => {
  endpoint = await S3Endpoint.start();
  await endpoint.bucket(Bucket);
  s3 = s3Client(endpoint, await endpoint.keys());
});
afterAll(async () => {
  s3.destroy();
  await endpoint[Symbol.asyncDispose]();
});

describe("buckets", () => {
  test("are created, listed, looked at and deleted", async () => {
    await s3.send(new CreateBucketCommand({ Bucket: "made-here" }));
    expect(await s3ErrorOf(s3.send(new CreateBucketCommand({ Bucket: "made-here" })))).toBe(
      "409 BucketAlreadyOwnedByYou",
    );
    expect(await s3ErrorOf(s3.send(new CreateBucketCommand({ Bucket: "Not_A_Name" })))).toBe("400 InvalidBucketName");
    const { Buckets = [] } = await s3.send(new ListBucketsCommand());
    expect(Buckets.map(({ Name }) => Name)).toEqual(["made-here", Bucket]);
    expect(Buckets[0]?.CreationDate).toBeInstanceOf(Date);
    await s3.send(new HeadBucketCommand({ Bucket: "made-here" }));
    expect((await s3.send(new GetBucketLocationCommand({ Bucket: "made-here" }))).LocationConstraint).toBe("auto");
    await s3.send(new PutObjectCommand({ Bucket: "made-here", Key: "k", Body: "x" }));
    expect(await s3ErrorOf(s3.send(new DeleteBucketCommand({ Bucket: "made-here" })))).toBe("409 BucketNotEmpty");
    await s3.send(new DeleteObjectCommand({ Bucket: "made-here", Key: "k" }));
    await s3.send(new DeleteBucketCommand({ Bucket: "made-here" }));
    expect(await s3ErrorOf(s3.send(new HeadBucketCommand({ Bucket: "made-here" })))).toBe("404 NotFound");
    expect(await s3ErrorOf(s3.send(new ListObjectsV2Command({ Bucket: "made-here" })))).toBe("404 NoSuchBucket");
  });

  test("have CORS and lifecycle rules that the REST API has too", async () => {
    expect(await s3ErrorOf(s3.send(new GetBucketCorsCommand({ Bucket })))).toBe("404 NoSuchCORSConfiguration");
    const rule = {
      ID: "one",
      AllowedOrigins: ["https://a.example", "https://*.b.example"],
      AllowedMethods: ["GET", "PUT"],
      AllowedHeaders: ["content-type", "x-amz-*"],
      ExposeHeaders: ["ETag"],
      MaxAgeSeconds: 60,
    };
    await s3.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules: [rule] } }));
    expect((await s3.send(new GetBucketCorsCommand({ Bucket }))).CORSRules).toEqual([rule]);
    const ref = { accountId: s3Account, name: Bucket, jurisdiction: "default" } as const;
    expect(await endpoint.store.settings.get(ref, "cors")).toMatchObject([{ id: "one", maxAgeSeconds: 60 }]);
    await s3.send(new DeleteBucketCorsCommand({ Bucket }));
    expect(await s3ErrorOf(s3.send(new GetBucketCorsCommand({ Bucket })))).toBe("404 NoSuchCORSConfiguration");

    const Rules = [
      { ID: "expire", Status: "Enabled", Filter: { Prefix: "tmp/" }, Expiration: { Days: 3 } },
      {
        ID: "move",
        Status: "Disabled",
        Filter: { Prefix: "" },
        Transitions: [{ Days: 30, StorageClass: "STANDARD_IA" }],
        AbortIncompleteMultipartUpload: { DaysAfterInitiation: 1 },
      },
    ] as const;
    const LifecycleConfiguration = { Rules: Rules.map((one) => ({ ...one })) as never };
    await s3.send(new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration }));
    const found = await s3.send(new GetBucketLifecycleConfigurationCommand({ Bucket }));
    expect(found.Rules).toEqual(Rules);
  });

  test("say plainly what R2 does not have", async () => {
    const refused = [
      new GetBucketAclCommand({ Bucket }),
      new GetBucketPolicyCommand({ Bucket }),
      new ListObjectVersionsCommand({ Bucket }),
      new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: "Enabled" } }),
      new GetObjectTaggingCommand({ Bucket, Key: "k" }),
      new PutObjectCommand({ Bucket, Key: "k", Body: "x", Tagging: "a=b" }),
      new PutObjectCommand({ Bucket, Key: "k", Body: "x", ServerSideEncryption: "aws:kms" }),
      new PutObjectCommand({ Bucket, Key: "k", Body: "x", ObjectLockMode: "GOVERNANCE" }),
      new GetObjectCommand({ Bucket, Key: "k", VersionId: "v" }),
    ];
    for (const command of refused)
      expect.soft(await s3ErrorOf(s3.send(command as GetBucketAclCommand))).toBe("501 NotImplemented");
    expect((await s3.send(new GetBucketVersioningCommand({ Bucket }))).Status).toBeUndefined();
    const { ServerSideEncryptionConfiguration } = await s3.send(new GetBucketEncryptionCommand({ Bucket }));
    expect(ServerSideEncryptionConfiguration?.Rules?.[0]?.ApplyServerSideEncryptionByDefault?.SSEAlgorithm).toBe(
      "AES256",
    );
    expect(await s3ErrorOf(s3.send(new HeadObjectCommand({ Bucket, Key: "k" })))).toBe("404 NotFound");
  });
});

describe("objects", () => {
  test.each([0, 1, 65_536, 65_537, 3 * MiB + 17])("of %i bytes come back as they went", async (size) => {
    const body = randomBytes(size);
    const put = await s3.send(new PutObjectCommand({ Bucket, Key: `size ${size}`, Body: body }));
    expect(put.ETag).toBe(`"${createHash("md5").update(body).digest("hex")}"`);
    // The SDK gives a CRC32 unless told otherwise, and compares it when it reads.
    expect(put.ChecksumCRC32).toMatch(/^[\w+/]{6}==$/);
    expect((await bytesOf(`size ${size}`)).equals(body)).toBe(true);
  });

  test("keep their metadata, in any language", async () => {
    const given = {
      ContentType: "text/plain; charset=utf-8",
      ContentLanguage: "de",
      ContentDisposition: 'attachment; filename="a b.txt"',
      ContentEncoding: "br",
      CacheControl: "max-age=60",
      Expires: new Date("2030-01-02T03:04:05Z"),
      Metadata: { one: "1", "with-dash": "value with  blanks" },
      StorageClass: "STANDARD_IA",
    } as const;
    await s3.send(new PutObjectCommand({ Bucket, Key: "meta", Body: "x", ...given }));
    const { Expires: _, ...texts } = given;
    expect(await s3.send(new HeadObjectCommand({ Bucket, Key: "meta" }))).toMatchObject({
      ...texts,
      ExpiresString: "Wed, 02 Jan 2030 03:04:05 GMT",
      ContentLength: 1,
    });
  });

  test("have keys of any text", async () => {
    const names = [
      "a//b",
      "/leading",
      "../up",
      "trailing ",
      "ü/日本/😀",
      "a+b&c=d?e#f",
      "100%",
      "q\"'<>",
      "%2F",
      "~(!)*'",
      "new\nline",
      ".",
    ];
    for (const Key of names) {
      await s3.send(new PutObjectCommand({ Bucket, Key: `keys/${Key}`, Body: Key }));
      expect.soft((await bytesOf(`keys/${Key}`)).toString()).toBe(Key);
    }
    const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket, Prefix: "keys/" }));
    expect(Contents.map(({ Key = "" }) => Key.slice(5)).toSorted()).toEqual(names.toSorted());
    const { Contents: encoded = [] } = await s3.send(
      new ListObjectsV2Command({ Bucket, Prefix: "keys/", EncodingType: "url" }),
    );
    expect(encoded.map(({ Key }) => decodeURIComponent(Key ?? "").slice(5)).toSorted()).toEqual(names.toSorted());
    const Objects = names.map((Key) => ({ Key: `keys/${Key}` }));
    const { Deleted = [], Errors } = await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
    expect(Deleted.length).toBe(names.length);
    expect(Errors).toBeUndefined();
    expect((await s3.send(new ListObjectsV2Command({ Bucket, Prefix: "keys/" }))).KeyCount).toBe(0);
  });

  test.each(["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"] as ChecksumAlgorithm[])(
    "have a %s when asked, and refuse another one",
    async (ChecksumAlgorithm) => {
      const name = `Checksum${ChecksumAlgorithm}` as const;
      // CRC64NVME and CRC32C need a module of the SDK that is not pure JavaScript: they are given as values.
      const known = { CRC32: "y/Q5Jg==", CRC32C: "4waSgw==", CRC64NVME: "rosUhgp5mIg=" } as Record<string, string>;
      const sum = known[ChecksumAlgorithm] ?? createHash(ChecksumAlgorithm).update("123456789").digest("base64");
      const put = { Bucket, Key: `sum ${ChecksumAlgorithm}`, Body: "123456789", [name]: sum };
      expect((await s3.send(new PutObjectCommand(put)))[name as "ChecksumCRC32"]).toBe(sum);
      const head = await s3.send(new HeadObjectCommand({ Bucket, Key: put.Key, ChecksumMode: "ENABLED" }));
      expect(head[name as "ChecksumCRC32"]).toBe(sum);
      const wrong = { ...put, Key: "sum wrong", Body: "12345678" };
      expect(await s3ErrorOf(s3.send(new PutObjectCommand(wrong)))).toBe("400 BadDigest");
      expect(await s3ErrorOf(s3.send(new HeadObjectCommand({ Bucket, Key: "sum wrong" })))).toBe("404 NotFound");
    },
  );

  test("stream in, in signed chunks with a trailer", async () => {
    const body = randomBytes(700_001);
    const pieces = () => Readable.from([body.subarray(0, 100_000), body.subarray(100_000)]);
    await s3.send(new PutObjectCommand({ Bucket, Key: "streamed", Body: pieces(), ContentLength: body.length }));
    expect((await bytesOf("streamed")).equals(body)).toBe(true);
    expect((await s3.send(new HeadObjectCommand({ Bucket, Key: "streamed" }))).ContentEncoding).toBeUndefined();
    // A body that is shorter than announced is no object.
    const short = new PutObjectCommand({ Bucket, Key: "short", Body: pieces(), ContentLength: body.length + 1 });
    expect(
      await s3ErrorOf(Promise.race([s3.send(short, { abortSignal: AbortSignal.timeout(3000) }), delay(5000)])),
    ).not.toBe("no error");
    expect(await s3ErrorOf(s3.send(new HeadObjectCommand({ Bucket, Key: "short" })))).toBe("404 NotFound");
  });

  test("are read in ranges and under conditions", async () => {
    const put = await s3.send(new PutObjectCommand({ Bucket, Key: "range", Body: "0123456789" }));
    const get = async (more: object) => {
      const { Body, ContentRange } = await s3.send(new GetObjectCommand({ Bucket, Key: "range", ...more }));
      return `${await Body?.transformToString()} ${ContentRange}`;
    };
    expect(await get({ Range: "bytes=2-4" })).toBe("234 bytes 2-4/10");
    expect(await get({ Range: "bytes=7-" })).toBe("789 bytes 7-9/10");
    expect(await get({ Range: "bytes=-3" })).toBe("789 bytes 7-9/10");
    expect(await get({ Range: "bytes=5-100" })).toBe("56789 bytes 5-9/10");
    for (const [Range, error] of [
      ["bytes=10-", "416 InvalidRange"],
      ["bytes=10-20", "416 InvalidRange"],
      ["bytes=-0", "416 InvalidRange"],
      ["bytes=4-2", "400 InvalidArgument"],
      ["bytes=0-1,3-4", "400 InvalidArgument"],
    ])
      expect.soft(await s3ErrorOf(get({ Range })), Range).toBe(error);
    const [past, future] = [new Date(Date.now() - 1e6), new Date(Date.now() + 1e6)];
    expect(await get({ IfMatch: put.ETag })).toBe("0123456789 undefined");
    expect(await s3ErrorOf(get({ IfMatch: '"no"' }))).toBe("412 PreconditionFailed");
    expect(await s3ErrorOf(get({ IfNoneMatch: put.ETag }))).toMatch(/^304 /);
    expect(await get({ IfNoneMatch: '"no"' })).toBe("0123456789 undefined");
    expect(await s3ErrorOf(get({ IfModifiedSince: future }))).toMatch(/^304 /);
    expect(await s3ErrorOf(get({ IfUnmodifiedSince: past }))).toBe("412 PreconditionFailed");
    expect(await get({ IfUnmodifiedSince: future })).toBe("0123456789 undefined");
  });

  test("are put under conditions, and one of many racers wins", async () => {
    const put = (more: object) => s3.send(new PutObjectCommand({ Bucket, Key: "race", Body: "x", ...more }));
    const all = await Promise.all(Array.from({ length: 32 }, () => s3ErrorOf(put({ IfNoneMatch: "*" }))));
    expect(all.filter((one) => one === "no error").length).toBe(1);
    expect(new Set(all)).toEqual(new Set(["no error", "412 PreconditionFailed"]));
    const { ETag } = await s3.send(new HeadObjectCommand({ Bucket, Key: "race" }));
    expect(await s3ErrorOf(put({ IfMatch: ETag }))).toBe("no error");
    expect(await s3ErrorOf(put({ IfMatch: '"other"' }))).toBe("412 PreconditionFailed");
  });

  test("are encrypted with a customer's key", async () => {
    const key = randomBytes(32);
    const SSECustomerKey = key.toString("base64");
    const ssec = { SSECustomerAlgorithm: "AES256", SSECustomerKey };
    const put = await s3.send(new PutObjectCommand({ Bucket, Key: "ssec", Body: "secret", ...ssec }));
    expect(put.SSECustomerKeyMD5).toBe(createHash("md5").update(key).digest("base64"));
    expect((await bytesOf("ssec", ssec)).toString()).toBe("secret");
    expect(await s3ErrorOf(bytesOf("ssec"))).toBe("400 InvalidRequest");
    expect(await s3ErrorOf(s3.send(new HeadObjectCommand({ Bucket, Key: "ssec" })))).toMatch(/^400 /);
    const other = { ...ssec, SSECustomerKey: randomBytes(32).toString("base64") };
    expect(await s3ErrorOf(bytesOf("ssec", other))).toBe("403 AccessDenied");
    const copy = {
      CopySource: `${Bucket}/ssec`,
      CopySourceSSECustomerAlgorithm: "AES256",
      CopySourceSSECustomerKey: SSECustomerKey,
    };
    await s3.send(new CopyObjectCommand({ Bucket, Key: "plain", ...copy }));
    expect((await bytesOf("plain")).toString()).toBe("secret");
  });

  test("are copied within and between buckets, with or without their metadata", async () => {
    await endpoint.bucket("sdk-other");
    const body = randomBytes(300_000);
    const put = await s3.send(
      new PutObjectCommand({ Bucket, Key: "from/ü", Body: body, ContentType: "a/b", Metadata: { a: "1" } }),
    );
    const CopySource = encodeURI(`${Bucket}/from/ü`);
    const copied = await s3.send(new CopyObjectCommand({ Bucket, Key: "to", CopySource }));
    expect(copied.CopyObjectResult?.ETag).toBe(put.ETag);
    expect((await bytesOf("to")).equals(body)).toBe(true);
    expect(await s3.send(new HeadObjectCommand({ Bucket, Key: "to" }))).toMatchObject({
      ContentType: "a/b",
      Metadata: { a: "1" },
    });
    const replace = { MetadataDirective: "REPLACE", ContentType: "c/d", Metadata: { b: "2" } } as const;
    await s3.send(new CopyObjectCommand({ Bucket: "sdk-other", Key: "to", CopySource, ...replace }));
    const head = await s3.send(new HeadObjectCommand({ Bucket: "sdk-other", Key: "to" }));
    expect([head.ContentType, head.Metadata]).toEqual(["c/d", { b: "2" }]);
    // Onto itself, the usual way to change metadata.
    await s3.send(new CopyObjectCommand({ Bucket, Key: "to", CopySource: `${Bucket}/to`, ...replace }));
    await s3.send(new DeleteObjectCommand({ Bucket, Key: "from/ü" }));
    expect((await bytesOf("to")).equals(body)).toBe(true);
    const gone = new CopyObjectCommand({ Bucket, Key: "x", CopySource: `${Bucket}/gone` });
    expect(await s3ErrorOf(s3.send(gone))).toBe("404 NoSuchKey");
    const unless = new CopyObjectCommand({ Bucket, Key: "x", CopySource: `${Bucket}/to`, CopySourceIfMatch: '"no"' });
    expect(await s3ErrorOf(s3.send(unless))).toBe("412 PreconditionFailed");
  });
});

test("lists come in pages, folded at the delimiter, in both versions", async () => {
  const id = await endpoint.bucket("sdk-lists");
  for (const key of ["a/1", "a/2", "b", "c/1", "d", "e"]) await endpoint.store.put(id, key, Buffer.from("x"));
  const Names = { Bucket: "sdk-lists", Delimiter: "/", MaxKeys: 2 };
  const seen: string[] = [];
  let ContinuationToken: string | undefined;
  do {
    const page = await s3.send(new ListObjectsV2Command({ ...Names, ContinuationToken }));
    expect(page.KeyCount).toBeLessThanOrEqual(2);
    seen.push(
      ...(page.CommonPrefixes ?? []).map(({ Prefix }) => Prefix!),
      ...(page.Contents ?? []).map(({ Key }) => Key!),
    );
    ContinuationToken = page.NextContinuationToken;
  } while (ContinuationToken);
  expect(seen).toEqual(["a/", "b", "c/", "d", "e"]);
  const old: string[] = [];
  let Marker: string | undefined;
  do {
    const page = await s3.send(new ListObjectsCommand({ ...Names, Marker }));
    old.push(
      ...(page.CommonPrefixes ?? []).map(({ Prefix }) => Prefix!),
      ...(page.Contents ?? []).map(({ Key }) => Key!),
    );
    Marker = page.IsTruncated ? page.NextMarker : undefined;
  } while (Marker);
  expect(old).toEqual(["a/", "b", "c/", "d", "e"]);
  const after = await s3.send(new ListObjectsV2Command({ Bucket: "sdk-lists", StartAfter: "b", Prefix: "" }));
  expect(after.Contents?.map(({ Key }) => Key)).toEqual(["c/1", "d", "e"]);
  expect((await s3.send(new ListObjectsV2Command({ ...Names, MaxKeys: 0 }))).IsTruncated).toBe(true);
  expect((await s3.send(new ListObjectsV2Command({ ...Names, MaxKeys: 1e9 }))).KeyCount).toBe(5);
});
