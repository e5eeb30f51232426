import { createHash, createHmac, randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { createWireServer, type WireServer } from "#http/wire/server.ts";
import { r2PlatformHandler } from "#products/r2/platform.ts";
import { openR2Store, type SqliteR2Store } from "#products/r2/sqlite-store.ts";
import { RawClient } from "../../../../test/support/raw-client.ts";

/** Requests signed by hand, so that each part of them can be wrong alone. */
let folder: string;
let store: SqliteR2Store;
let server: WireServer;
let bucketId: string;
const accountId = "a".repeat(32);
const id = "b".repeat(32);
const secret = createHash("sha256").update("a token").digest("hex");
const blobs = () => readdirSync(join(folder, "r2"));

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "solum-s3h-"));
  const paths = { db: join(folder, "r2.db"), blobs: join(folder, "r2") };
  store = await openR2Store({ ...paths, sealKey: Buffer.alloc(32, 1) });
  bucketId = (await store.createBucket({ accountId, name: "target", jurisdiction: "default" })).id;
  const time = new Date().toISOString();
  await store.settings.addAccessKey(
    {
      id,
      accountId,
      name: "t",
      grants: [{ write: true }],
      policies: [],
      status: "active",
      issuedOn: time,
      modifiedOn: time,
    },
    "a token",
  );
  server = createWireServer(r2PlatformHandler({ store, appDomain: "localhost", endpoint: "s3.localhost" }));
  await server.listen(join(folder, "s"));
});
afterAll(async () => {
  await server.close();
  await store.close();
  rmSync(folder, { recursive: true });
});

const sha256 = (data: string | Buffer) => createHash("sha256").update(data).digest("hex");
const hmac = (key: string | Buffer, data: string) => createHmac("sha256", key).update(data).digest();
const amzDate = (ms = Date.now()) => new Date(ms).toISOString().replaceAll(/[-:]|\.\d+/g, "");

type Signing = {
  method?: string;
  path?: string;
  query?: string;
  host?: string;
  body?: Buffer | string;
  payloadHash?: string;
  date?: string;
  scopeDate?: string;
  region?: string;
  service?: string;
  headers?: Record<string, string>;
  /** Headers that are sent and not signed. */
  unsigned?: Record<string, string>;
  key?: string;
  accessKeyId?: string;
  change?: (signature: string) => string;
};

/** A request and what its chunks must be signed with. */
function sign(options: Signing) {
  const { method = "PUT", path = "/target/k", query = "", host = "s3.localhost", body = "" } = options;
  const { date = amzDate(), region = "auto", service = "s3", key = secret, accessKeyId = id } = options;
  const payloadHash = options.payloadHash ?? sha256(body);
  const scope = `${options.scopeDate ?? date.slice(0, 8)}/${region}/${service}/aws4_request`;
  const headers: Record<string, string> = {
    host,
    "x-amz-content-sha256": payloadHash,
    "x-amz-date": date,
    ...options.headers,
  };
  const names = Object.keys(headers).toSorted();
  const canonical = [
    method,
    path,
    query,
    names.map((name) => `${name}:${headers[name]}\n`).join(""),
    names.join(";"),
    payloadHash,
  ].join("\n");
  const text = `AWS4-HMAC-SHA256\n${date}\n${scope}\n${sha256(canonical)}`;
  const signingKey = scope.split("/").reduce<string | Buffer>(hmac, `AWS4${key}`) as Buffer;
  const signature = (options.change ?? ((same) => same))(hmac(signingKey, text).toString("hex"));
  const authorization = `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${names.join(";")}, Signature=${signature}`;
  return {
    method,
    target: query ? `${path}?${query}` : path,
    headers: { ...headers, ...options.unsigned, authorization },
    body,
    signature,
    signingKey,
    scope,
    date,
  };
}

async function send(request: {
  method: string;
  target: string;
  headers: Record<string, string>;
  body: Buffer | string;
}) {
  const client = await RawClient.to(join(folder, "s"));
  const head = Object.entries(request.headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join("");
  const body = Buffer.from(request.body);
  const text = `${request.method} ${request.target} HTTP/1.1\r\n${head}content-length: ${body.length}\r\nconnection: close\r\n\r\n`;
  client.socket.write(Buffer.concat([Buffer.from(text), body]));
  await vi.waitFor(() => expect(client.ending).toBeDefined(), { timeout: 10_000, interval: 2 });
  client.socket.destroy();
  const status = Number(/^HTTP\/1\.1 (\d+)/.exec(client.received)?.[1]);
  return { status, code: /<Code>(\w+)/.exec(client.received)?.[1], received: client.received };
}
const outcome = async (options: Signing) => {
  const { status, code } = await send(sign(options));
  return code === undefined ? String(status) : `${status} ${code}`;
};

test("what is signed right is taken, in a path or under the bucket's own host", async () => {
  expect(await outcome({ body: "x" })).toBe("200");
  expect(await outcome({ body: "x", path: "/other", host: "target.s3.localhost" })).toBe("200");
  expect((await store.list(bucketId)).objects.map(({ key }) => key)).toEqual(["k", "other"]);
  expect(await outcome({ method: "GET", path: "/", host: "eu.s3.localhost" })).toBe("200");
  expect(await outcome({ method: "GET", path: "/k", host: "target.eu.s3.localhost" })).toBe("404 NoSuchBucket");
  await store.delete(bucketId, ["k", "other"]);
});

describe("nothing is taken that", () => {
  const hour = 3600_000;
  test.each<[string, Signing, string]>([
    ["has another signature", { change: () => "0".repeat(64) }, "403 SignatureDoesNotMatch"],
    ["has a signature in capitals", { change: (one) => one.toUpperCase() }, "403 SignatureDoesNotMatch"],
    ["has a signature that is cut", { change: (one) => one.slice(1) }, "403 SignatureDoesNotMatch"],
    ["has no signature", { change: () => "" }, "403 SignatureDoesNotMatch"],
    ["is signed by another secret", { key: "0".repeat(64) }, "403 SignatureDoesNotMatch"],
    ["is signed by the token itself", { key: "a token" }, "403 SignatureDoesNotMatch"],
    ["names no key", { accessKeyId: "" }, "401 Unauthorized"],
    ["names an unknown key", { accessKeyId: "c".repeat(32) }, "401 Unauthorized"],
    ["names another service", { service: "ec2" }, "400 InvalidArgument"],
    ["names an unknown region", { region: "us-west-9" }, "400 InvalidRegionName"],
    ["is from an hour ago", { date: amzDate(Date.now() - hour) }, "403 RequestTimeTooSkewed"],
    ["is from an hour ahead", { date: amzDate(Date.now() + hour) }, "403 RequestTimeTooSkewed"],
    ["has a scope of yesterday", { scopeDate: amzDate(Date.now() - 24 * hour).slice(0, 8) }, "400 InvalidArgument"],
    ["has an empty scope", { scopeDate: "" }, "400 InvalidArgument"],
    ["has no date", { date: "now" }, "400 InvalidArgument"],
    ["has a body of another hash", { body: "x", payloadHash: sha256("y") }, "400 XAmzContentSHA256Mismatch"],
    ["has a body of an unknown kind", { body: "x", payloadHash: "STREAMING-OTHER" }, "501 NotImplemented"],
    ["has a header of S3's that is not signed", { unsigned: { "x-amz-meta-a": "1" } }, "403 AccessDenied"],
    ["is signed twice", { query: "X-Amz-Credential=x" }, "400 InvalidArgument"],
    ["has a session token", { headers: { "x-amz-security-token": "t" } }, "400 InvalidArgument"],
    [
      "has an MD5 of something else",
      { body: "x", headers: { "content-md5": Buffer.alloc(16).toString("base64") } },
      "400 BadDigest",
    ],
    ["has half an MD5", { body: "x", headers: { "content-md5": "AAAA" } }, "400 InvalidDigest"],
    ["has half a checksum", { body: "x", headers: { "x-amz-checksum-sha256": "AAAA" } }, "400 InvalidRequest"],
    ["has a key of broken UTF-8", { path: "/target/%ff" }, "400 InvalidArgument"],
    ["has a key that is too long", { path: `/target/${"k".repeat(1025)}` }, "400 InvalidObjectName"],
    ["has too much metadata", { headers: { "x-amz-meta-a": "v".repeat(8200) } }, "400 MetadataTooLarge"],
  ])("%s", async (_what, options, wanted) => {
    expect(await outcome(options)).toBe(wanted);
    expect((await store.list(bucketId)).objects).toEqual([]);
    await vi.waitFor(() => expect(blobs()).toEqual([]));
  });

  test("goes to another bucket than was signed", async () => {
    await store.createBucket({ accountId, name: "second", jurisdiction: "default" });
    const request = sign({ body: "x" });
    expect(await send({ ...request, target: "/second/k" })).toMatchObject({ code: "SignatureDoesNotMatch" });
    expect(await send({ ...request, headers: { ...request.headers, host: "second.s3.localhost" } })).toMatchObject({
      code: "SignatureDoesNotMatch",
    });
    expect(await send({ ...request, target: "/target/k?uploads=" })).toMatchObject({ code: "SignatureDoesNotMatch" });
    expect(await send({ ...request, method: "DELETE" })).toMatchObject({ code: "SignatureDoesNotMatch" });
  });
});

describe("a body in signed chunks", () => {
  const content = randomBytes(200_000);
  const trailer = { name: "x-amz-checksum-sha256", value: createHash("sha256").update(content).digest("base64") };
  type Damage = {
    chunk?: number;
    size?: number;
    drop?: number;
    trailer?: string;
    trailerSignature?: string;
    end?: string;
    extension?: string;
  };

  const chunked = (damage: Damage = {}) => {
    const request = sign({
      payloadHash: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
      headers: {
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": String(content.length + (damage.size ?? 0)),
        "x-amz-trailer": trailer.name,
      },
    });
    let { signature } = request;
    const signed = (kind: string, hashes: string[]) => {
      const text = [`AWS4-HMAC-SHA256-${kind}`, request.date, request.scope, signature, ...hashes].join("\n");
      signature = hmac(request.signingKey, text).toString("hex");
      return signature;
    };
    const pieces: Buffer[] = [];
    const chunks = [0, 1, 2, 3].map((at) => content.subarray(at * 50_000, (at + 1) * 50_000));
    for (const [at, chunk] of [...chunks, Buffer.alloc(0)].entries()) {
      const right = signed("PAYLOAD", [sha256(""), sha256(chunk)]);
      if (at === damage.drop) continue;
      const shown = at === damage.chunk ? "0".repeat(64) : right;
      pieces.push(Buffer.from(`${chunk.length.toString(16)}${damage.extension ?? `;chunk-signature=${shown}`}\r\n`));
      if (chunk.length > 0) pieces.push(chunk, Buffer.from("\r\n"));
    }
    const value = damage.trailer ?? trailer.value;
    const right = signed("TRAILER", [sha256(`${trailer.name}:${value}\n`)]);
    const shown = damage.trailerSignature ?? right;
    const lines = value === "" ? "" : `${trailer.name}:${value}\r\nx-amz-trailer-signature:${shown}\r\n`;
    pieces.push(Buffer.from(damage.end ?? `${lines}\r\n`));
    return send({ ...request, body: Buffer.concat(pieces) });
  };

  test("is taken when all of it is right", async () => {
    expect(await chunked()).toMatchObject({ status: 200 });
    expect(await store.head(bucketId, "k")).toMatchObject({ size: content.length, httpMetadata: {} });
    await store.delete(bucketId, ["k"]);
  });

  test.each<[string, Damage, string]>([
    ["a chunk's signature is wrong", { chunk: 2 }, "SignatureDoesNotMatch"],
    ["the last chunk's signature is wrong", { chunk: 4 }, "SignatureDoesNotMatch"],
    ["a chunk is left out", { drop: 1 }, "SignatureDoesNotMatch"],
    ["the last chunk is left out", { drop: 4 }, "InvalidChunk"],
    ["chunks are not signed", { extension: "" }, "SignatureDoesNotMatch"],
    ["there is more than announced", { size: -1 }, "IncompleteBody"],
    ["there is less than announced", { size: 1 }, "IncompleteBody"],
    ["the trailer has another checksum", { trailer: Buffer.alloc(32).toString("base64") }, "BadDigest"],
    ["the trailer's signature is wrong", { trailerSignature: "0".repeat(64) }, "SignatureDoesNotMatch"],
    ["the trailer is missing", { trailer: "" }, "MalformedTrailerError"],
    ["there is something behind it", { end: "\r\nmore" }, "InvalidChunk"],
  ])("is refused when %s", async (_what, damage, code) => {
    expect(await chunked(damage)).toMatchObject({ code });
    expect(await store.head(bucketId, "k")).toBeUndefined();
    await vi.waitFor(() => expect(blobs()).toEqual([]));
  });
});

describe("XML", () => {
  const remove = (xml: string) => outcome({ method: "POST", path: "/target", query: "delete=", body: xml });
  const object = (key: string) => `<Object><Key>${key}</Key></Object>`;

  test.each([
    ["is no XML", "{}"],
    ["is not closed", "<Delete><Object>"],
    ["is something else", "<Other/>"],
    ["names nothing", "<Delete></Delete>"],
    ["has an object without a key", "<Delete><Object/></Delete>"],
    ["names what JavaScript's objects have", "<Delete><__proto__><Key>x</Key></__proto__></Delete>"],
    ["has 1,001 keys", `<Delete>${object("k").repeat(1001)}</Delete>`],
    ["declares entities", `<!DOCTYPE d [<!ENTITY a "b">]><Delete>${object("&a;")}</Delete>`],
    ["reads files", `<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/passwd">]><Delete>${object("&a;")}</Delete>`],
    ["has 10⁵ elements", `<Delete>${"<a/>".repeat(130_000)}</Delete>`],
    ["is 10 MB", `<Delete>${object("k".repeat(10_000_000))}</Delete>`],
  ])("that %s is refused", async (_what, xml) => {
    expect(await remove(xml)).toBe("400 MalformedXML");
  });

  test("of 1,000 keys full of references is read", async () => {
    const keys = Array.from({ length: 1000 }, (_, n) => `a&b<c>"d'${n}`);
    await store.put(bucketId, keys[999] ?? "", Buffer.from("x"));
    const escaped = keys.map((key) => key.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;"));
    expect(await remove(`<Delete>${escaped.map(object).join("")}</Delete>`)).toBe("200");
    expect((await store.list(bucketId)).objects).toEqual([]);
  });
});
