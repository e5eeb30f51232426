import { errors } from "../errors.ts";

/** Types that a browser shows without running anything in them. Everything else is downloaded. */
const shownInBrowser = /^(application\/pdf|image\/(png|jpeg|gif|webp|avif)|audio\/[\w.+-]+|video\/[\w.+-]+)$/;

/** Answers with a file out of R2: all of it, the range that was asked for, or nothing when the browser has it already. */
export async function serveFile(
  request: Request,
  bucket: R2Bucket,
  key: string,
  { name, type }: { name: string; type: string },
): Promise<Response> {
  const object = await readFile(request, bucket, key);
  if (object === null) throw errors.notFound("The file of this document is gone.");

  const headers = new Headers({
    etag: object.httpEtag,
    "last-modified": object.uploaded.toUTCString(),
    "cache-control": "private, no-cache",
    "accept-ranges": "bytes",
    ...presentation(name, type),
  });
  if (!("body" in object)) return new Response(null, { status: unmetStatus(request), headers });

  const { offset = 0, length = object.size } = object.range as { offset?: number; length?: number };
  if (length === object.size) return new Response(object.body, { headers });
  headers.set("content-range", `bytes ${offset}-${offset + length - 1}/${object.size}`);
  return new Response(object.body, { status: 206, headers });
}

/** R2 reads the conditions and the range out of the headers itself. If-Range needs no look: a file never changes. */
async function readFile({ headers }: Request, bucket: R2Bucket, key: string): Promise<R2ObjectBody | R2Object | null> {
  try {
    return await bucket.get(key, { onlyIf: headers, range: headers });
  } catch (error) {
    const reason = error instanceof Error ? error.message : "";
    if (reason.includes("(10039)")) throw errors.rangeNotSatisfiable();
    if (reason.includes("Invalid ETag")) throw errors.badRequest("A condition of this request is not a valid ETag.");
    throw error;
  }
}

/** Text is shown as plain text whatever it says it is: an uploaded page must not run here with its owner's session. */
function presentation(name: string, type: string): Record<string, string> {
  const plain = (type.split(";")[0] ?? "").trim().toLowerCase();
  const isText = plain.startsWith("text/");
  const disposition = isText || shownInBrowser.test(plain) ? "inline" : "attachment";
  const ascii = name.replaceAll(/[^\x20-\x7e]|["\\%]/g, "_");
  return {
    "content-type": isText ? "text/plain; charset=utf-8" : plain,
    "content-disposition": `${disposition}; filename="${ascii}"; filename*=UTF-8''${encodeURIComponent(name)}`,
  };
}

function unmetStatus({ headers }: Request): number {
  return headers.has("if-match") || headers.has("if-unmodified-since") ? 412 : 304;
}
