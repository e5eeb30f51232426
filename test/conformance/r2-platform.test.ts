import { createHash, randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DeleteObjectCommand, GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { s3ErrorOf } from "../support/s3-client.ts";
import { uploadWorker } from "../support/direct-upload.ts";
import { Solum } from "../support/start-solum.ts";

/** R2's public side on a whole Solum: keys made by the API, the endpoint and buckets through the ingress. */
let solum: Solum;
let account: string;
type Envelope<T> = { success: boolean; result: T; errors: { code: number; message: string }[] };
const call = async <T>(method: string, path: string, body?: object) =>
  (await solum.api(method, path, body)).json as Envelope<T>;

beforeAll(async () => {
  // By address, since not every machine resolves names below localhost.
  solum = await Solum.start("--s3-host", "127.0.0.1");
  account = solum.environment["CLOUDFLARE_ACCOUNT_ID"] ?? "";
});
afterAll(() => solum[Symbol.asyncDispose]());

type Token = { id: string; value: string };
const bucketResource = (name: string) => `com.cloudflare.edge.r2.bucket.${account}_default_${name}`;
const tokenFor = (name: string, group: string) => ({
  name: "for a test",
  policies: [{ effect: "allow", permission_groups: [{ id: group }], resources: { [bucketResource(name)]: "*" } }],
});
const itemWrite = "2efd5506f9c8494dacb1fa10a3e7d5b6";
const clientOf = ({ id, value }: Token) =>
  new S3Client({
    region: "auto",
    endpoint: `http://127.0.0.1:${solum.port}`,
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: { accessKeyId: id, secretAccessKey: createHash("sha256").update(value).digest("hex") },
  });

test("a token of the API is a key of the S3 endpoint until it is revoked", async () => {
  for (const name of ["one-bucket", "other-bucket"]) await call("POST", "/r2/buckets", { name });
  const { result: token } = await call<Token>("POST", "/tokens", tokenFor("one-bucket", itemWrite));
  const s3 = clientOf(token);
  const put = new PutObjectCommand({ Bucket: "one-bucket", Key: "k", Body: randomBytes(200_000) });
  expect(await s3ErrorOf(s3.send(put))).toBe("no error");
  expect(await s3ErrorOf(s3.send(new GetObjectCommand({ Bucket: "other-bucket", Key: "k" })))).toBe("403 AccessDenied");
  const { result: listed } = await call<Token[]>("GET", "/tokens");
  expect(listed).toMatchObject([{ id: token.id, name: "for a test", status: "active" }]);
  expect(JSON.stringify(listed)).not.toContain(token.value);
  const { result: rolled } = await call<string>("PUT", `/tokens/${token.id}/value`);
  expect(await s3ErrorOf(s3.send(put))).toBe("403 SignatureDoesNotMatch");
  const again = clientOf({ id: token.id, value: rolled });
  expect(await s3ErrorOf(again.send(put))).toBe("no error");
  await call("DELETE", `/tokens/${token.id}`);
  expect(await s3ErrorOf(again.send(put))).toBe("401 Unauthorized");
  expect((await call("GET", `/tokens/${token.id}`)).success).toBe(false);
});

test("wrangler's `r2 bucket info` counts what there is", async () => {
  await call("POST", "/r2/buckets", { name: "counted" });
  await call("PUT", "/r2/buckets/counted/objects/k", { some: "bytes" });
  const project = solum.project("hello");
  const { output } = await solum.wrangler(project, ["r2", "bucket", "info", "counted"]);
  expect(output).toMatch(/object_count: +1\b/);
  // Sixteen bytes, and one of its name.
  expect(output).toMatch(/bucket_size: +17 B/);
});

test.each([
  ["another product's group", { permission_groups: [{ id: "0".repeat(32) }] }],
  ["another account's bucket", { resources: { [`com.cloudflare.edge.r2.bucket.${"f".repeat(32)}_default_x-y`]: "*" } }],
  ["no bucket", { resources: { "com.cloudflare.edge.r2.bucket.x": "*" } }],
  ["a denial", { effect: "deny" }],
])("a token for %s is refused", async (_what, change) => {
  const wanted = tokenFor("one-bucket", itemWrite);
  const [policy] = wanted.policies;
  const { success } = await call("POST", "/tokens", { ...wanted, policies: [{ ...policy, ...change }] });
  expect(success).toBe(false);
});

test("a bucket is public under the platform's name and its owner's, while that is switched on", async () => {
  const { result: token } = await call<Token>("POST", "/tokens", tokenFor("one-bucket", itemWrite));
  const s3 = clientOf(token);
  const page = { Bucket: "one-bucket", Key: "dir/page ü.html", Body: "<p>hello", ContentType: "text/html" };
  await s3.send(new PutObjectCommand(page));
  const path = encodeURI("/dir/page ü.html");
  const { result: managed } = await call<{ domain: string }>("GET", "/r2/buckets/one-bucket/domains/managed");
  const under = async (host: string, headers: Record<string, string> = {}) => solum.request(host, path, { headers });
  expect((await under(managed.domain)).status).toBe(404);
  await call("PUT", "/r2/buckets/one-bucket/domains/managed", { enabled: true });
  const answer = await under(managed.domain);
  expect([answer.status, answer.text, answer.headers["content-type"]]).toEqual([200, "<p>hello", "text/html"]);
  const etag = String(answer.headers.etag);
  expect((await under(managed.domain, { "if-none-match": etag })).status).toBe(304);
  const part = await under(managed.domain, { range: "bytes=3-5" });
  expect([part.status, part.text, part.headers["content-range"]]).toEqual([206, "hel", "bytes 3-5/8"]);

  const made = await solum.request("localhost", "/client/v4/zones", {
    method: "POST",
    headers: { authorization: `Bearer ${solum.environment["CLOUDFLARE_API_TOKEN"]}` },
    body: JSON.stringify({ name: "example.com", account: { id: account } }),
  });
  const { result: zone } = JSON.parse(made.text) as Envelope<{ id: string }>;
  const domain = { domain: "files.example.com", zoneId: zone.id, enabled: true };
  expect((await under("files.example.com")).status).toBe(404);
  expect((await call("POST", "/r2/buckets/one-bucket/domains/custom", domain)).success).toBe(true);
  expect((await under("files.example.com")).text).toBe("<p>hello");
  const second = await call("POST", "/r2/buckets/other-bucket/domains/custom", domain);
  expect(second.errors).toMatchObject([{ message: "This domain is in use." }]);
  const script = `export default { fetch: () => new Response("a Worker") };`;
  await uploadWorker(solum, "rival", script);
  const toWorker = (hostname: string) =>
    call<unknown>("PUT", "/workers/domains", {
      hostname,
      service: "rival",
      environment: "production",
      zone_id: zone.id,
    });
  const ofBucket = {
    success: false,
    errors: [{ code: 100117, message: expect.stringContaining("R2 bucket") as unknown }],
  };
  expect(await toWorker("files.example.com")).toMatchObject(ofBucket);
  for (const override of [false, true]) {
    const body = {
      override_scope: true,
      override_existing_origin: override,
      // The first is free, and is not given either.
      origins: [{ hostname: "free.example.com" }, { hostname: "files.example.com" }],
    };
    expect(await call("PUT", "/workers/scripts/rival/domains/records", body)).toMatchObject(ofBucket);
  }
  expect((await call<unknown[]>("GET", "/workers/domains")).result).toEqual([]);
  expect((await under("files.example.com")).text).toBe("<p>hello");
  expect((await toWorker("worker.example.com")).success).toBe(true);
  const workers = { ...domain, domain: "worker.example.com" };
  expect((await call("POST", "/r2/buckets/one-bucket/domains/custom", workers)).errors).toMatchObject([
    { message: "This domain is in use." },
  ]);
  expect((await under("worker.example.com")).text).toBe("a Worker");
  await call("PUT", "/r2/buckets/one-bucket/domains/custom/files.example.com", { enabled: false });
  // Switched off, it is the bucket's still.
  expect(await toWorker("files.example.com")).toMatchObject(ofBucket);
  expect((await under("files.example.com")).status).toBe(404);
  await call("DELETE", "/r2/buckets/one-bucket/domains/custom/files.example.com");
  expect((await call("POST", "/r2/buckets/other-bucket/domains/custom", domain)).success).toBe(true);
  await s3.send(new DeleteObjectCommand(page));
});
