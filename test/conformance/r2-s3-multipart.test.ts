import { createHash, randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  PutObjectCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { s3Bytes, s3Client, s3ErrorOf } from "../support/s3-client.ts";
import { S3Endpoint } from "../support/s3-endpoint.ts";

let endpoint: S3Endpoint;
let s3: S3Client;
const Bucket = "multipart-bucket";
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

describe("multipart uploads", () => {
  test("of lib-storage make an object with the checksum of its parts", async () => {
    const body = randomBytes(12 * MiB);
    const upload = new Upload({
      client: s3,
      params: { Bucket, Key: "lib", Body: Readable.from([body]), ContentType: "x/y", Metadata: { m: "1" } },
      partSize: 5 * MiB,
      queueSize: 3,
    });
    expect((await upload.done()).ETag).toMatch(/-3"$/);
    expect((await bytesOf("lib")).equals(body)).toBe(true);
    const head = await s3.send(new HeadObjectCommand({ Bucket, Key: "lib", ChecksumMode: "ENABLED" }));
    expect(head).toMatchObject({ ContentType: "x/y", Metadata: { m: "1" }, ContentLength: 12 * MiB });
    expect(head.ChecksumCRC32).toMatch(/-3$/);
    expect((await bytesOf("lib", { Range: "bytes=5242870-5242890" })).equals(body.subarray(5242870, 5242891))).toBe(
      true,
    );
    await s3.send(new CopyObjectCommand({ Bucket, Key: "lib copy", CopySource: `${Bucket}/lib` }));
    expect((await bytesOf("lib copy")).equals(body)).toBe(true);
  });

  test("are listed, with their parts, copied parts among them, and completed", async () => {
    const source = randomBytes(6 * MiB);
    await s3.send(new PutObjectCommand({ Bucket, Key: "source", Body: source }));
    const Key = "by hand";
    const { UploadId } = await s3.send(
      new CreateMultipartUploadCommand({ Bucket, Key, ChecksumAlgorithm: "SHA256", ChecksumType: "COMPOSITE" }),
    );
    const range = `bytes=0-${5 * MiB - 1}`;
    const { CopyPartResult } = await s3.send(
      new UploadPartCopyCommand({
        Bucket,
        Key,
        UploadId,
        PartNumber: 1,
        CopySource: `${Bucket}/source`,
        CopySourceRange: range,
      }),
    );
    const second = await s3.send(
      new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: 2, Body: "tail", ChecksumAlgorithm: "SHA256" }),
    );
    const listed = await s3.send(new ListPartsCommand({ Bucket, Key, UploadId }));
    expect(listed.Parts?.map(({ PartNumber, Size }) => [PartNumber, Size])).toEqual([
      [1, 5 * MiB],
      [2, 4],
    ]);
    expect((await s3.send(new ListPartsCommand({ Bucket, Key, UploadId, MaxParts: 1 }))).IsTruncated).toBe(true);
    const uploads = await s3.send(new ListMultipartUploadsCommand({ Bucket, Prefix: "by" }));
    expect(uploads.Uploads?.map((one) => [one.Key, one.UploadId])).toEqual([[Key, UploadId]]);
    const parts = [
      { PartNumber: 1, ETag: CopyPartResult?.ETag, ChecksumSHA256: CopyPartResult?.ChecksumSHA256 },
      { PartNumber: 2, ETag: second.ETag, ChecksumSHA256: second.ChecksumSHA256 },
    ];
    const complete = (Parts: object[], more = {}) =>
      s3.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts }, ...more }));
    expect(await s3ErrorOf(complete(parts.toReversed()))).toBe("400 InvalidPartOrder");
    expect(await s3ErrorOf(complete([{ ...parts[0], ETag: '"0"' }]))).toBe("400 InvalidPart");
    const wrong = createHash("sha256").update("other").digest("base64");
    expect(await s3ErrorOf(complete([{ ...parts[0], ChecksumSHA256: wrong }]))).toBe("400 InvalidPart");
    expect(await s3ErrorOf(complete(parts, { IfMatch: '"there"' }))).toBe("412 PreconditionFailed");
    const done = await complete(parts);
    const sums = [source.subarray(0, 5 * MiB), "tail"].map((one) => createHash("sha256").update(one).digest());
    expect(done.ChecksumSHA256).toBe(`${createHash("sha256").update(Buffer.concat(sums)).digest("base64")}-2`);
    expect((await bytesOf(Key)).equals(Buffer.concat([source.subarray(0, 5 * MiB), Buffer.from("tail")]))).toBe(true);
    expect(await s3ErrorOf(complete(parts))).toBe("404 NoSuchUpload");
  });

  test("have the checksum of all bytes when asked", async () => {
    const [Key, body] = ["full", randomBytes(7 * MiB)];
    const created = new CreateMultipartUploadCommand({
      Bucket,
      Key,
      ChecksumAlgorithm: "CRC32",
      ChecksumType: "FULL_OBJECT",
    });
    const { UploadId } = await s3.send(created);
    const Parts = [];
    for (const [at, Body] of [body.subarray(0, 5 * MiB), body.subarray(5 * MiB)].entries()) {
      const { ETag } = await s3.send(
        new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: at + 1, Body, ChecksumAlgorithm: "CRC32" }),
      );
      Parts.push({ ETag, PartNumber: at + 1 });
    }
    const complete = { Bucket, Key, UploadId, MultipartUpload: { Parts } };
    await s3.send(new CompleteMultipartUploadCommand(complete));
    // The SDK compares it with what it reads.
    const found = await s3.send(new GetObjectCommand({ Bucket, Key, ChecksumMode: "ENABLED" }));
    expect(Buffer.from(await found.Body!.transformToByteArray()).equals(body)).toBe(true);
    expect([found.ChecksumType, found.ChecksumCRC32?.length]).toEqual(["FULL_OBJECT", 8]);
  });

  test("refuse small parts and unequal ones, and end when aborted", async () => {
    const Key = "refused";
    const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key }));
    const put = async (PartNumber: number, size: number) => {
      const { ETag } = await s3.send(
        new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body: Buffer.alloc(size) }),
      );
      return { PartNumber, ETag };
    };
    const complete = (Parts: object[]) =>
      s3ErrorOf(s3.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts } })));
    expect(await complete([await put(1, 1), await put(2, 1)])).toBe("400 EntityTooSmall");
    expect(await complete([await put(1, 5 * MiB), await put(2, 5 * MiB + 1), await put(3, 1)])).toBe("400 InvalidPart");
    expect(await s3ErrorOf(put(0, 1))).toBe("400 InvalidArgument");
    expect(await s3ErrorOf(put(10_001, 1))).toBe("400 InvalidArgument");
    await s3.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId }));
    expect(await s3ErrorOf(put(1, 1))).toBe("404 NoSuchUpload");
  });
});
