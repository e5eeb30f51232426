import type { BlobStore } from "#products/workers/blobs.ts";
import type { ModuleType, VersionModule } from "#products/workers/runnable.ts";
import type { Version } from "#products/workers/schema.ts";

/** What each kind of module was uploaded as (wrangler-api §3.3). */
const contentTypes: Record<ModuleType, string> = {
  esm: "application/javascript+module",
  cjs: "application/javascript",
  text: "text/plain",
  data: "application/octet-stream",
  wasm: "application/wasm",
  json: "application/json",
};

/**
 * A version's code as it was uploaded: a form with a part for each module and the main one's name in `cf-entrypoint`, or the
 * bare script of a service worker. That is how wrangler tells the two apart (its `fetchWorkerDefinitionFromDash`).
 */
export async function contentResponse(blobs: BlobStore, { runnable }: Version): Promise<Response> {
  const [main] = runnable.modules;
  if (runnable.format === "service-worker" && main) {
    const headers = { "content-type": contentTypes.cjs, "cf-entrypoint": main.name };
    return new Response(await bytesOf(blobs, main), { headers });
  }
  const form = new FormData();
  for (const module of runnable.modules) {
    const file = new File([await bytesOf(blobs, module)], module.name, { type: contentTypes[module.type] });
    form.append(module.name, file);
  }
  return new Response(form, main ? { headers: { "cf-entrypoint": main.name } } : {});
}

async function bytesOf(blobs: BlobStore, { hash }: VersionModule): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await blobs.read(hash));
}
