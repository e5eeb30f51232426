import { readBody } from "#http/app.ts";
import { kvErrors } from "#products/kv/errors.ts";
import { limits } from "#products/kv/schema.ts";
import type { KvBytes } from "#products/kv/store.ts";

/** What the parts of a form cost besides a value: boundaries, their heads, the metadata and a margin. */
const formOverheadBytes = 64 * 1024;

/** The value that a `PUT …/values/:key` carries: the body itself, or the field `value` of a form beside `metadata`. */
export async function givenValue(
  request: Request,
): Promise<{ body: KvBytes; sizeBytes?: number | undefined; metadata?: string | undefined }> {
  const type = request.headers.get("content-type") ?? "";
  if (!type.toLowerCase().startsWith("multipart/form-data")) {
    const length = request.headers.get("content-length");
    return { body: request.body ?? new Uint8Array(0), sizeBytes: length === null ? undefined : Number(length) };
  }
  const bytes = await readBody(request, limits.valueBytes + formOverheadBytes);
  const form = await parseForm(bytes, type);
  const value = form.get("value");
  const metadata = form.get("metadata");
  if (value === null) throw kvErrors.valueMissing();
  return {
    body: typeof value === "string" ? Buffer.from(value) : new Uint8Array(await value.arrayBuffer()),
    metadata: metadata === null ? undefined : await textOf(metadata),
  };
}

async function parseForm(bytes: Uint8Array, type: string): Promise<FormData> {
  try {
    return await new Response(bytes, { headers: { "content-type": type } }).formData();
  } catch (error) {
    throw kvErrors.formInvalid(error);
  }
}

async function textOf(field: string | Blob): Promise<string> {
  return typeof field === "string" ? field : field.text();
}
