import {
  CopyObjectCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  GetBucketCorsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { s3Client, s3ErrorOf } from "../support/s3-client.ts";
import { S3Endpoint, s3Account, type S3Keys } from "../support/s3-endpoint.ts";

let endpoint: S3Endpoint;
let keys: S3Keys;
let s3: S3Client;
const Bucket = "access-bucket";

beforeAll(async () => {
  endpoint = await S3Endpoint.start();
  await endpoint.bucket(Bucket);
  keys = await endpoint.keys();
  s3 = s3Client(endpoint, keys);
});
afterAll(async () => {
  s3.destroy();
  await endpoint[Symbol.asyncDispose]();
});

describe("presigned addresses", () => {
  test("get, put, head and delete without a key", async () => {
    const sign = (command: unknown, expiresIn = 60) => getSignedUrl(s3 as never, command as never, { expiresIn });
    const put = await fetch(await sign(new PutObjectCommand({ Bucket, Key: "by url", ContentType: "text/plain" })), {
      method: "PUT",
      body: "by url",
      headers: { "content-type": "text/plain" },
    });
    expect([put.status, await put.text()]).toEqual([200, ""]);
    const disposition = 'attachment; filename="x.txt"';
    const get = await fetch(
      await sign(new GetObjectCommand({ Bucket, Key: "by url", ResponseContentDisposition: disposition })),
    );
    expect([await get.text(), get.headers.get("content-type"), get.headers.get("content-disposition")]).toEqual([
      "by url",
      "text/plain",
      disposition,
    ]);
    const head = await fetch(await sign(new HeadObjectCommand({ Bucket, Key: "by url" })), { method: "HEAD" });
    expect([head.status, head.headers.get("content-length")]).toEqual([200, "6"]);
    const url = await sign(new DeleteObjectCommand({ Bucket, Key: "by url" }), 604_800);
    expect((await fetch(url, { method: "DELETE" })).status).toBe(204);
  });

  test("end, and are good for what was signed alone", async () => {
    await s3.send(new PutObjectCommand({ Bucket, Key: "signed", Body: "x" }));
    const url = await getSignedUrl(s3 as never, new GetObjectCommand({ Bucket, Key: "signed" }) as never, {
      expiresIn: 10,
    });
    const status = async (address: string, init?: RequestInit) => {
      const answer = await fetch(address, init);
      return `${answer.status} ${/<Code>(\w+)/.exec(await answer.text())?.[1] ?? ""}`.trim();
    };
    const altered = (change: (url: URL) => void) => {
      const other = new URL(url);
      change(other);
      return other.href;
    };
    expect(await status(url)).toBe("200");
    expect(await status(url, { method: "PUT", body: "y" })).toBe("403 SignatureDoesNotMatch");
    expect(await status(url, { method: "DELETE" })).toBe("403 SignatureDoesNotMatch");
    expect(await status(altered((one) => (one.pathname += "2")))).toBe("403 SignatureDoesNotMatch");
    expect(await status(altered((one) => one.searchParams.set("X-Amz-Expires", "604800")))).toBe(
      "403 SignatureDoesNotMatch",
    );
    expect(await status(altered((one) => one.searchParams.set("X-Amz-Expires", "604801")))).toBe("400 InvalidArgument");
    expect(await status(altered((one) => one.searchParams.set("X-Amz-Expires", "abc")))).toBe("400 InvalidArgument");
    expect(await status(altered((one) => one.searchParams.set("X-Amz-Expires", "0")))).toBe("403 ExpiredRequest");
    expect(await status(altered((one) => one.searchParams.append("X-Amz-Expires", "10")))).toBe("400 InvalidArgument");
    expect(await status(altered((one) => one.searchParams.append("delete", "")))).toBe("403 SignatureDoesNotMatch");
    expect(await status(url, { headers: { "x-amz-acl": "private" } })).toBe("403 AccessDenied");
    expect(await status(url, { headers: { authorization: "AWS4-HMAC-SHA256 x" } })).toBe("400 InvalidArgument");
    endpoint.ahead = 11_000;
    try {
      expect(await status(url)).toBe("403 ExpiredRequest");
      endpoint.ahead = -3600_000;
      expect(await status(url)).toBe("403 AccessDenied");
    } finally {
      endpoint.ahead = 0;
    }
  });
});

describe("access keys", () => {
  test("do what they were made for and no more", async () => {
    await endpoint.bucket("mine-here");
    const mine = { name: "mine-here", jurisdiction: "default" };
    const [reader, writer, accountReader, stranger] = [
      s3Client(endpoint, await endpoint.keys([{ buckets: [mine], write: false }])),
      s3Client(endpoint, await endpoint.keys([{ buckets: [mine], write: true }])),
      s3Client(endpoint, await endpoint.keys([{ write: false }])),
      s3Client(endpoint, await endpoint.keys([{ write: true }], "b".repeat(32))),
    ];
    const put = new PutObjectCommand({ Bucket: "mine-here", Key: "k", Body: "x" });
    const get = (name: string) => new GetObjectCommand({ Bucket: name, Key: "k" });
    expect(await s3ErrorOf(writer.send(put))).toBe("no error");
    expect(await s3ErrorOf(reader.send(put))).toBe("403 AccessDenied");
    expect(await s3ErrorOf(accountReader.send(put))).toBe("403 AccessDenied");
    expect(await s3ErrorOf(stranger.send(put))).toBe("404 NoSuchBucket");
    expect(await s3ErrorOf(reader.send(get("mine-here")))).toBe("no error");
    expect(await s3ErrorOf(accountReader.send(get("mine-here")))).toBe("no error");
    for (const one of [reader, writer]) {
      expect(await s3ErrorOf(one.send(get(Bucket)))).toBe("403 AccessDenied");
      expect(await s3ErrorOf(one.send(new ListBucketsCommand()))).toBe("403 AccessDenied");
      expect(await s3ErrorOf(one.send(new DeleteBucketCommand({ Bucket: "mine-here" })))).toBe("403 AccessDenied");
      expect(await s3ErrorOf(one.send(new GetBucketCorsCommand({ Bucket: "mine-here" })))).toBe("403 AccessDenied");
    }
    const steal = new CopyObjectCommand({ Bucket: "mine-here", Key: "stolen", CopySource: `${Bucket}/signed` });
    expect(await s3ErrorOf(writer.send(steal))).toBe("403 AccessDenied");
    const foreign = new CopyObjectCommand({ Bucket: "x", Key: "stolen", CopySource: "mine-here/k" });
    expect(await s3ErrorOf(stranger.send(foreign))).toBe("404 NoSuchBucket");
  });

  test("are over at once when they are revoked, disabled, expired or not begun", async () => {
    const mine = await endpoint.keys();
    const mineClient = s3Client(endpoint, mine);
    const list = () => s3ErrorOf(mineClient.send(new ListBucketsCommand()));
    const { settings } = endpoint.store;
    const key = await settings.getAccessKey(s3Account, mine.accessKeyId);
    expect(await list()).toBe("no error");
    await settings.updateAccessKey({ ...key, status: "disabled" });
    expect(await list()).toBe("401 Unauthorized");
    await settings.updateAccessKey({ ...key, expiresOn: new Date(Date.now() - 1).toISOString() });
    expect(await list()).toBe("401 Unauthorized");
    await settings.updateAccessKey({ ...key, notBefore: new Date(Date.now() + 60_000).toISOString() });
    expect(await list()).toBe("401 Unauthorized");
    await settings.updateAccessKey(key, "another token");
    expect(await list()).toBe("403 SignatureDoesNotMatch");
    await settings.removeAccessKey(s3Account, mine.accessKeyId);
    expect(await list()).toBe("401 Unauthorized");
  });

  test("are needed, and right", async () => {
    const send = (credentials: S3Keys, more = {}) =>
      s3ErrorOf(s3Client(endpoint, credentials, more).send(new ListBucketsCommand()));
    expect(await send({ ...keys, secretAccessKey: "0".repeat(64) })).toBe("403 SignatureDoesNotMatch");
    expect(await send({ ...keys, accessKeyId: "0".repeat(32) })).toBe("401 Unauthorized");
    expect(await send(keys, { region: "us-east-1" })).toBe("no error");
    expect(await send(keys, { region: "us-west-9" })).toBe("400 InvalidRegionName");
    expect(await (await fetch(endpoint.url)).text()).toContain("<Code>InvalidArgument</Code>");
    endpoint.ahead = 16 * 60_000;
    try {
      // The SDK mends its clock by the answer's date and tries again when it may.
      expect(await send(keys)).toMatch(/^403 RequestTimeTooSkewed/);
    } finally {
      endpoint.ahead = 0;
    }
  });
});
