import { execFile, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { S3Endpoint, type S3Keys } from "../support/s3-endpoint.ts";

/** Tools as Debian packages them; what is not installed is skipped. */
const has = (command: string, ...args: string[]) => spawnSync(command, args, { stdio: "ignore" }).status === 0;
const rclone = has("rclone", "version");
const s3cmd = has("s3cmd", "--version");
const boto3 = has("/usr/bin/python3", "-c", "import boto3");

let endpoint: S3Endpoint;
let keys: S3Keys;
const MiB = 1024 * 1024;
const files: Record<string, Buffer> = {
  "small.txt": Buffer.from("hello"),
  empty: Buffer.alloc(0),
  "dir/with blank + plus & ü.bin": randomBytes(100_001),
  "large.bin": randomBytes(12 * MiB),
};

beforeAll(async () => {
  endpoint = await S3Endpoint.start();
  keys = await endpoint.keys();
  for (const [name, bytes] of Object.entries(files)) {
    mkdirSync(join(endpoint.folder, "in", name, ".."), { recursive: true });
    writeFileSync(join(endpoint.folder, "in", name), bytes);
  }
});
afterAll(() => endpoint[Symbol.asyncDispose]());

const run = async (command: string, args: string[], env: Record<string, string> = {}) =>
  new Promise<string>((resolve, reject) => {
    const options = { cwd: endpoint.folder, env: { PATH: process.env["PATH"], HOME: endpoint.folder, ...env } };
    execFile(command, args, options, (error, stdout, stderr) =>
      error ? reject(new Error(`${command} ${args.join(" ")}\n${stdout}${stderr}`)) : resolve(stdout + stderr),
    );
  });
const fails = async (work: Promise<string>) =>
  work.then(
    () => "no error",
    (error: Error) => error.message,
  );
const same = (folder: string) => {
  for (const [name, bytes] of Object.entries(files))
    expect.soft(readFileSync(join(endpoint.folder, folder, name)).equals(bytes), name).toBe(true);
};

describe.skipIf(!rclone)("rclone (Debian package rclone)", () => {
  const go = (...args: string[]) =>
    run("rclone", [...args, "--s3-chunk-size", "5M", "--s3-upload-cutoff", "6M", "--retries", "1"], {
      RCLONE_CONFIG_R2_TYPE: "s3",
      RCLONE_CONFIG_R2_PROVIDER: "Cloudflare",
      RCLONE_CONFIG_R2_ACCESS_KEY_ID: keys.accessKeyId,
      RCLONE_CONFIG_R2_SECRET_ACCESS_KEY: keys.secretAccessKey,
      RCLONE_CONFIG_R2_ENDPOINT: endpoint.url,
      RCLONE_CONFIG_R2_REGION: "auto",
    });

  test("syncs, checks, copies on the server, and cleans up", async () => {
    await go("mkdir", "r2:rclone-bucket");
    await go("sync", "in", "r2:rclone-bucket/a");
    expect(await go("check", "in", "r2:rclone-bucket/a")).toContain("0 differences found");
    await go("copy", "r2:rclone-bucket/a", "r2:rclone-bucket/b");
    expect(await go("check", "--download", "in", "r2:rclone-bucket/b")).toContain("0 differences found");
    await go("sync", "r2:rclone-bucket/b", "out-rclone");
    same("out-rclone");
    // Nothing to do the second time: times are kept as metadata.
    expect(await go("sync", "in", "r2:rclone-bucket/a", "-v")).toContain("There was nothing to transfer");
    expect((await go("lsf", "-R", "--files-only", "r2:rclone-bucket")).match(/^[ab]\//gm)?.length).toBe(8);
    await go("moveto", "r2:rclone-bucket/b/large.bin", "r2:rclone-bucket/c/large.bin");
    await go("purge", "r2:rclone-bucket");
    expect(await fails(go("lsf", "r2:rclone-bucket"))).toContain("directory not found");
  });
});

describe.skipIf(!s3cmd)("s3cmd (Debian package s3cmd)", () => {
  const go = (...args: string[]) => {
    const host = endpoint.url.slice("http://".length);
    const connection = [`--host=${host}`, `--host-bucket=${host}`, "--no-ssl", "--region=auto", "--no-progress"];
    const credentials = [`--access_key=${keys.accessKeyId}`, `--secret_key=${keys.secretAccessKey}`];
    return run("s3cmd", ["--config=/dev/null", ...connection, ...credentials, ...args]);
  };

  test("makes buckets, puts, lists, gets, copies, signs and deletes", async () => {
    await go("mb", "s3://s3cmd-bucket");
    expect(await go("ls")).toContain("s3://s3cmd-bucket");
    await go("put", "--recursive", "--multipart-chunk-size-mb=5", "in/", "s3://s3cmd-bucket/a/");
    expect(await go("ls", "--recursive", "s3://s3cmd-bucket")).toContain(
      "s3://s3cmd-bucket/a/dir/with blank + plus & ü.bin",
    );
    mkdirSync(join(endpoint.folder, "out-s3cmd"), { recursive: true });
    await go("get", "--recursive", "s3://s3cmd-bucket/a/", "out-s3cmd/");
    same("out-s3cmd");
    await go("cp", "s3://s3cmd-bucket/a/small.txt", "s3://s3cmd-bucket/copy.txt");
    expect(await go("info", "s3://s3cmd-bucket/a/small.txt")).toContain("File size: 5");
    await go("modify", "--add-header=x-amz-meta-color:blue", "--mime-type=text/x-new", "s3://s3cmd-bucket/a/small.txt");
    const modified = await go("info", "s3://s3cmd-bucket/a/small.txt");
    for (const line of [/File size: +5/, /MIME type: +text\/x-new/, /x-amz-meta-color: +blue/])
      expect(modified).toMatch(line);
    await go("get", "s3://s3cmd-bucket/a/small.txt", "out-s3cmd/modified");
    expect(readFileSync(join(endpoint.folder, "out-s3cmd/modified"), "utf8")).toBe("hello");
    await go("del", "--recursive", "--force", "s3://s3cmd-bucket");
    await go("rb", "s3://s3cmd-bucket");
    expect(await fails(go("ls", "s3://s3cmd-bucket"))).toContain("NoSuchBucket");
  });
});

describe.skipIf(!boto3)("boto3 (Debian package python3-boto3)", () => {
  const go = (script: string) =>
    run(
      "/usr/bin/python3",
      [
        "-c",
        `import boto3, hashlib\nfrom botocore.config import Config\nfrom boto3.s3.transfer import TransferConfig\n${script}`,
      ],
      {
        AWS_ACCESS_KEY_ID: keys.accessKeyId,
        AWS_SECRET_ACCESS_KEY: keys.secretAccessKey,
        ENDPOINT: endpoint.url,
      },
    );
  const client = `
import os, urllib.request
s3 = boto3.client("s3", endpoint_url=os.environ["ENDPOINT"], region_name="auto", config=Config(signature_version="s3v4"))
B = "boto-bucket"
`;

  test("puts, gets, uploads in parts, pages, presigns and deletes", async () => {
    const output = await go(`${client}
s3.create_bucket(Bucket=B)
for n in range(25): s3.put_object(Bucket=B, Key=f"p/{n:03}", Body=b"x", Metadata={"n": str(n)})
pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=B, Prefix="p/", PaginationConfig={"PageSize": 10}))
assert [len(p["Contents"]) for p in pages] == [10, 10, 5], pages
pages = list(s3.get_paginator("list_objects").paginate(Bucket=B, Prefix="p/", PaginationConfig={"PageSize": 10}))
assert [len(p["Contents"]) for p in pages] == [10, 10, 5], pages
config = TransferConfig(multipart_threshold=6 << 20, multipart_chunksize=5 << 20)
s3.upload_file("in/large.bin", B, "large", Config=config)
s3.download_file(B, "large", "out-boto", Config=config)
assert open("in/large.bin", "rb").read() == open("out-boto", "rb").read()
s3.copy({"Bucket": B, "Key": "large"}, B, "copied", Config=config)
assert s3.head_object(Bucket=B, Key="copied")["ContentLength"] == 12 << 20
url = s3.generate_presigned_url("get_object", Params={"Bucket": B, "Key": "p/001"}, ExpiresIn=60)
assert urllib.request.urlopen(url).read() == b"x"
url = s3.generate_presigned_url("put_object", Params={"Bucket": B, "Key": "by url"}, ExpiresIn=60)
urllib.request.urlopen(urllib.request.Request(url, data=b"y", method="PUT", headers={"content-type": ""}))
assert s3.get_object(Bucket=B, Key="by url")["Body"].read() == b"y"
try:
    s3.put_object(Bucket=B, Key="acl", Body=b"", Tagging="a=b")
    raise Exception("taken")
except s3.exceptions.ClientError as e:
    assert e.response["Error"]["Code"] == "NotImplemented", e.response
keys = [o["Key"] for p in s3.get_paginator("list_objects_v2").paginate(Bucket=B) for o in p.get("Contents", [])]
assert not s3.delete_objects(Bucket=B, Delete={"Objects": [{"Key": k} for k in keys]}).get("Errors")
s3.delete_bucket(Bucket=B)
print("done")
`);
    expect(output).toContain("done");
  });
});
