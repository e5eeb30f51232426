import type { CapnpValue } from "#core/capnp-text.ts";
import type { AssetsConfig, RunnableVersion } from "#products/workers/runnable.ts";

/** Names in a configuration: the service routes requests, its entrypoint serves files only. */
export const assetsService = "assets";
export const assetsEntrypoint = "AssetWorker";

const limits = {
  /** workerd reads this many rules of `headers` and skips the rest. */
  headerRules: 100,
};

/**
 * workerd's assets service for a version: `folder` is its tree of files, `contentTypes` what wrangler uploaded each file (by its
 * path, `/a/b.glb`) as. Nothing is ignored beyond workerd's own root `_headers`, `_redirects` and `.assetsignore`, which
 * wrangler never uploads; it has applied `.assetsignore` already.
 */
export function assetsServiceConfig(
  version: RunnableVersion,
  config: AssetsConfig,
  options: { folder: string; contentTypes: ReadonlyMap<string, string> },
): CapnpValue {
  const json = {
    html_handling: config.html_handling,
    not_found_handling: config.not_found_handling,
    run_worker_first: config.run_worker_first,
    headers: headersText(config, options.contentTypes),
    redirects: config._redirects,
  };
  const alone = version.format === "assets-only";
  return {
    name: assetsService,
    assets: {
      path: options.folder,
      config: JSON.stringify(json),
      userWorker: alone ? undefined : "user",
      compatibilityDate: alone ? version.compatibilityDate : undefined,
      compatibilityFlags: alone ? version.compatibilityFlags : undefined,
    },
  };
}

/**
 * The user's `_headers` behind rules for the content types that workerd would not give by itself. workerd joins the values of
 * a header that two rules set, so each rule of the user's that sets a content type first takes ours away.
 */
export function headersText(config: AssetsConfig, contentTypes: ReadonlyMap<string, string>): string | undefined {
  const user = config._headers ?? "";
  const free = limits.headerRules - countRules(user);
  const rules = contentTypeRules(contentTypes, free, config.not_found_handling ?? "none");
  if (rules.length === 0) return config._headers;
  return `${rules.join("\n")}\n${detachContentType(user)}`;
}

/**
 * One rule for each file where there is room. Where there is not, one for each extension, which has a flaw: it also says the
 * type of the 404 page under such a name. Then extensions with the most files come first.
 */
function contentTypeRules(types: ReadonlyMap<string, string>, room: number, notFound: string): string[] {
  const wrong = [...types].filter(
    ([path, type]) => !path.includes("*") && type !== noType && type !== nativeType(path),
  );
  const rule = (path: string, type: string) => `${path}\n  Content-Type: ${type.replaceAll(/[\r\n]/g, " ")}`;
  const exact = notFound !== "none" && wrong.length <= room;
  if (exact) return wrong.map(([path, type]) => rule(encodePath(path), type));
  const groups = [...Map.groupBy(wrong, ([path, type]) => `${extensionOf(path)}\n${type}`).values()];
  groups.sort((a, b) => b.length - a.length);
  const seen = new Set<string>();
  return groups
    .flatMap((files) => {
      const [path = "", type = ""] = files[0] ?? [];
      const extension = extensionOf(path);
      // Two types under one extension: the more frequent one has the pattern, the others are named one by one.
      if (extension === "") return files.map(([file]) => rule(encodePath(file), type));
      if (seen.has(extension)) return files.map(([file]) => detachContentType(rule(encodePath(file), type)));
      seen.add(extension);
      return [rule(`/*.${encodeURIComponent(extension)}`, type)];
    })
    .slice(0, Math.max(0, room));
}

/** What wrangler uploads a file as when it knows no type for it: it is served without one. */
const noType = "application/null";

/** What workerd gives a file by its extension: all that it knows (observed; `assets.test.ts` asks it). */
const nativeTypes = new Map(
  Object.entries({
    "application/atom+xml": "atom",
    "application/gzip": "gz",
    "application/json": "json map",
    "application/ld+json": "jsonld",
    "application/manifest+json": "webmanifest",
    "application/pdf": "pdf",
    "application/rss+xml": "rss",
    "application/vnd.ms-fontobject": "eot",
    "application/wasm": "wasm",
    "application/x-tar": "tar",
    "application/xml": "xml",
    "application/zip": "zip",
    "audio/flac": "flac",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/ogg": "oga ogg",
    "audio/wav": "wav",
    "font/otf": "otf",
    "font/ttf": "ttf",
    "font/woff": "woff",
    "font/woff2": "woff2",
    "image/apng": "apng",
    "image/avif": "avif",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/jpeg": "jpeg jpg",
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/vnd.microsoft.icon": "ico",
    "image/webp": "webp",
    "text/calendar; charset=utf-8": "ics",
    "text/css; charset=utf-8": "css",
    "text/csv; charset=utf-8": "csv",
    "text/html; charset=utf-8": "htm html",
    "text/javascript; charset=utf-8": "cjs js mjs",
    "text/markdown; charset=utf-8": "md",
    "text/plain; charset=utf-8": "txt",
    "video/mp4": "mp4",
    "video/ogg": "ogv",
    "video/quicktime": "mov",
    "video/webm": "webm",
  }).flatMap(([type, extensions]) => extensions.split(" ").map((extension) => [extension, type] as const)),
);

/** The content type that workerd gives a file of this name, undefined for none. */
export function nativeType(path: string): string | undefined {
  return nativeTypes.get(extensionOf(path).toLowerCase());
}

function extensionOf(path: string): string {
  return /[^/]\.([^./]+)$/.exec(path)?.[1] ?? "";
}

/** A path as rules are written: percent-encoded like a URL, so that no character of it has a meaning of its own. */
function encodePath(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}

/** Rules of a `_headers` text: a line that is indented or has a colon without being a URL belongs to the one above it. */
function countRules(text: string): number {
  return text.split("\n").filter((line) => isRulePath(line.trim())).length;
}

function isRulePath(line: string): boolean {
  return line.startsWith("/") || /^https?:\/\//.test(line);
}

function detachContentType(text: string): string {
  return text
    .split("\n")
    .map((line) => (/^\s*content-type\s*:/i.test(line) ? `  ! Content-Type\n${line}` : line))
    .join("\n");
}
