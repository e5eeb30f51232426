import type { Context } from "hono";
import { accountOf, createRoutes, ok, param, readBody, readJson, type Api } from "#http/app.ts";
import { messageOf } from "#core/errors.ts";
import { success } from "#http/envelope.ts";
import { assetErrors } from "#products/workers/asset-errors.ts";
import type { AssetStore, UploadedAsset } from "#products/workers/assets.ts";
import { checkWorkerName } from "#products/workers/worker-name.ts";
import { assetManifest, limits } from "#products/workers/schema.ts";

/** A manifest of the largest site: a path, a hash and a size for each file. */
const manifestBytesMax = limits.assetFiles * 400;
/** base64 takes four bytes for three; each part has a head. */
const bucketBytesMax = Math.ceil(limits.assetBucketBytes * 1.4) + limits.assetBucketFiles * 1024;

/** Below `/accounts/:account_id/workers` (wrangler-api §4). */
export function assetSessionRoutes(assets: AssetStore, reservedNames: ReadonlySet<string>): Api {
  const app = createRoutes();
  app.post("/scripts/:name/assets-upload-session", async (c) => {
    const scriptName = param(c, "name");
    checkWorkerName(scriptName, reservedNames);
    const { manifest } = await readJson(c, assetManifest, manifestBytesMax);
    return ok(c, await assets.openSession({ accountId: accountOf(c), scriptName }, manifest));
  });
  return app;
}

/** `POST /accounts/:account_id/workers/assets/upload`: guarded by the session's own token, not by the API's. */
export function assetUploadRoutes(assets: AssetStore): Api {
  const app = createRoutes();
  app.post("/accounts/:account_id/workers/assets/upload", async (c) => {
    const jwt = /^Bearer +(\S+)$/i.exec(c.req.header("authorization") ?? "")?.[1];
    if (jwt === undefined) throw assetErrors.badToken();
    await assets.checkToken(jwt, param(c, "account_id"));
    const files = await readFiles(c);
    const completion = await assets.upload(jwt, param(c, "account_id"), files);
    // 202 while files are missing and 201 at the end, as the real API does.
    return completion === undefined ? c.json(success({}), 202) : c.json(success({ jwt: completion }), 201);
  });
  return app;
}

async function readFiles(c: Context): Promise<UploadedAsset[]> {
  const body = await readBody(c.req.raw, bucketBytesMax);
  let form: FormData;
  try {
    form = await new Response(body.slice().buffer, {
      headers: { "content-type": c.req.header("content-type") ?? "" },
    }).formData();
  } catch (error) {
    throw assetErrors.malformed(messageOf(error));
  }
  const base64 = c.req.query("base64") === "true";
  return Promise.all(
    [...form].map(async ([hash, value]): Promise<UploadedAsset> => {
      const contentType = typeof value === "string" ? "" : value.type;
      const text = typeof value === "string" ? value : base64 ? await value.text() : undefined;
      const bytes =
        text === undefined && typeof value !== "string"
          ? new Uint8Array(await value.arrayBuffer())
          : Buffer.from(text ?? "", base64 ? "base64" : "utf8");
      return { hash, contentType, bytes };
    }),
  );
}
