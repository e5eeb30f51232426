import { createHash, createHmac } from "node:crypto";
import { join } from "node:path";
import { createWireServer } from "#http/wire/server.ts";
import { r2PlatformHandler } from "#products/r2/platform.ts";
import { openR2Store } from "#products/r2/sqlite-store.ts";

/** The S3 endpoint in a process of its own, on the socket `s` of a folder; tells its parent presigned paths of one object. */
const [folder = "", host = "s3.localhost"] = process.argv.slice(2);
const store = await openR2Store({ db: join(folder, "r2.db"), blobs: join(folder, "r2"), sealKey: Buffer.alloc(32, 1) });
const accountId = "a".repeat(32);
const id = "b".repeat(32);
const time = new Date().toISOString();
const grants = [{ write: true }];
// After a kill they are there already.
if ((await store.settings.listAccessKeys(accountId)).length === 0) {
  await store.createBucket({ accountId, name: "bucket", jurisdiction: "default" });
  await store.settings.addAccessKey(
    { id, accountId, name: "t", grants, policies: [], status: "active", issuedOn: time, modifiedOn: time },
    "token",
  );
}
const server = createWireServer(r2PlatformHandler({ store, appDomain: "localhost", endpoint: "s3.localhost" }));
await server.listen(join(folder, "s"));
process.send?.({ put: presign("PUT", "/bucket/k"), get: presign("GET", "/bucket/k") });
process.on("disconnect", () => process.exit(0));

function presign(method: string, path: string): string {
  const date = time.replaceAll(/[-:]|\.\d+/g, "");
  const scope = `${date.slice(0, 8)}/auto/s3/aws4_request`;
  const query = [
    "X-Amz-Algorithm=AWS4-HMAC-SHA256",
    `X-Amz-Credential=${encodeURIComponent(`${id}/${scope}`)}`,
    `X-Amz-Date=${date}`,
    "X-Amz-Expires=3600",
    "X-Amz-SignedHeaders=host",
  ].join("&");
  const canonical = [method, path, query, `host:${host}\n`, "host", "UNSIGNED-PAYLOAD"].join("\n");
  const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
  const secret = sha256("token");
  const hmac = (key: string | Buffer, text: string) => createHmac("sha256", key).update(text).digest();
  const key = scope.split("/").reduce<string | Buffer>(hmac, `AWS4${secret}`);
  const signature = createHmac("sha256", key).update(`AWS4-HMAC-SHA256\n${date}\n${scope}\n${sha256(canonical)}`);
  return `${path}?${query}&X-Amz-Signature=${signature.digest("hex")}`;
}
