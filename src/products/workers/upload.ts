import { posix } from "node:path";
import { messageOf } from "#core/errors.ts";
import { readBody } from "#http/app.ts";
import { workerErrors } from "#products/workers/errors.ts";
import type { ModuleType } from "#products/workers/runnable.ts";
import { limits, uploadMetadata, type UploadMetadata } from "#products/workers/schema.ts";

export type UploadedModule = { name: string; type: ModuleType; bytes: Uint8Array };

/** A multipart upload, read and checked as far as that needs no look at the account (wrangler-api §3.3). */
export type Upload = {
  metadata: UploadMetadata;
  format: "modules" | "service-worker" | "assets-only";
  /** The main module first. */
  modules: UploadedModule[];
  /** Parts that a service worker's bindings name. */
  parts: Map<string, Uint8Array>;
  sourceMaps: { name: string; bytes: Uint8Array }[];
};

const multipartOverheadBytes = 1024 * 1024;

/** Reads an upload. Everything that is wrong with it is a 10021, or a 10027 when it is too large. */
export async function readUpload(request: Request, workerBytes: number): Promise<Upload> {
  const form = await readForm(
    request,
    workerBytes + limits.sourceMapBytes + limits.metadataBytes + multipartOverheadBytes,
  );
  const metadata = await readMetadata(form);
  const files = await Promise.all(
    [...form].flatMap(([name, value]) =>
      name === "metadata" || typeof value === "string" ? [] : [readPart(name, value)],
    ),
  );
  const sourceMaps = files.filter(({ mime }) => mime === "application/source-map");
  const code = files.filter(({ mime }) => mime !== "application/source-map");
  checkSizes(code, sourceMaps, workerBytes);
  const upload = { metadata, parts: new Map<string, Uint8Array>(), sourceMaps };
  if (metadata.main_module !== undefined)
    return { ...upload, format: "modules", modules: readModules(metadata.main_module, code) };
  if (metadata.body_part !== undefined)
    return { ...upload, format: "service-worker", ...readServiceWorker(metadata.body_part, code) };
  if (metadata.assets) return { ...upload, format: "assets-only", modules: [] };
  throw workerErrors.invalidUpload("The metadata part names no main module: main_module or body_part is missing.");
}

async function readForm(request: Request, bytesMax: number): Promise<FormData> {
  const type = request.headers.get("content-type") ?? "";
  if (!/^multipart\/form-data\b/i.test(type))
    throw workerErrors.invalidUpload("An upload is multipart/form-data with a metadata part.");
  const body = await readBody(request, bytesMax);
  try {
    return await new Response(body.slice().buffer, { headers: { "content-type": type } }).formData();
  } catch (error) {
    throw workerErrors.invalidUpload(`The multipart body is malformed: ${messageOf(error)}`);
  }
}

async function readMetadata(form: FormData): Promise<UploadMetadata> {
  const parts = form.getAll("metadata");
  const [part] = parts;
  if (part === undefined || part === null) throw workerErrors.invalidUpload("The metadata part is missing.");
  if (parts.length > 1) throw workerErrors.invalidUpload("There is more than one metadata part.");
  const text = typeof part === "string" ? part : await part.text();
  if (text.length > limits.metadataBytes)
    throw workerErrors.invalidUpload(`The metadata part is larger than ${limits.metadataBytes} bytes.`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw workerErrors.invalidUpload(`The metadata part is not valid JSON: ${messageOf(error)}`);
  }
  const result = uploadMetadata.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw workerErrors.invalidUpload(`metadata.${issue?.path.join(".")}: ${issue?.message}`);
}

type Part = { name: string; mime: string; bytes: Uint8Array };

async function readPart(name: string, file: File): Promise<Part> {
  const mime = (file.type.split(";")[0] ?? "").trim().toLowerCase();
  return { name, mime, bytes: new Uint8Array(await file.arrayBuffer()) };
}

function checkSizes(code: readonly Part[], sourceMaps: readonly Part[], workerBytes: number): void {
  if (code.length > limits.modules) throw workerErrors.invalidUpload(`A Worker has at most ${limits.modules} modules.`);
  if (total(code) > workerBytes) throw workerErrors.scriptTooLarge(workerBytes);
  if (total(sourceMaps) > limits.sourceMapBytes)
    throw workerErrors.invalidUpload(`Source maps are larger than ${limits.sourceMapBytes} bytes.`);
}

function total(parts: readonly Part[]): number {
  return parts.reduce((sum, part) => sum + part.bytes.length, 0);
}

const moduleTypes: Record<string, ModuleType> = {
  "application/javascript+module": "esm",
  "text/javascript+module": "esm",
  "application/javascript": "cjs",
  "text/javascript": "cjs",
  "text/plain": "text",
  "text/html": "text",
  "text/sql": "text",
  "application/octet-stream": "data",
  "application/wasm": "wasm",
  "application/json": "json",
};

function readModules(main: string, parts: readonly Part[]): UploadedModule[] {
  const modules = new Map<string, UploadedModule>();
  for (const { name, mime, bytes } of parts) {
    if (mime.startsWith("text/x-python"))
      throw workerErrors.unsupported(`The module ${name} is Python; Python Workers`);
    const type = moduleTypes[mime];
    if (!type)
      throw workerErrors.invalidUpload(
        `The module ${printable(name)} has the content type "${printable(mime)}", which is no kind of module.`,
      );
    const path = modulePath(name);
    if (modules.has(path)) throw workerErrors.invalidUpload(`There is more than one module named ${path}.`);
    modules.set(path, { name: path, type, bytes });
  }
  const entry = modules.get(modulePath(main));
  if (!entry) throw workerErrors.invalidUpload(`The main module ${printable(main)} is not among the uploaded parts.`);
  if (entry.type !== "esm") throw workerErrors.invalidUpload(`The main module ${entry.name} is not an ES module.`);
  return [entry, ...[...modules.values()].filter((module) => module !== entry)];
}

function readServiceWorker(
  body: string,
  parts: readonly Part[],
): { modules: UploadedModule[]; parts: Map<string, Uint8Array> } {
  const script = parts.find(({ name }) => name === body);
  if (!script) throw workerErrors.invalidUpload(`The script ${printable(body)} is not among the uploaded parts.`);
  const others = parts.filter((part) => part !== script);
  return {
    modules: [{ name: "worker.js", type: "cjs", bytes: script.bytes }],
    parts: new Map(others.map(({ name, bytes }) => [name, bytes])),
  };
}

// oxlint-disable-next-line no-control-regex
const control = /[\x00-\x1f\x7f]/;

/** A module's name as a path below the main module's folder. It never becomes a path on disk: files are named by hash. */
function modulePath(name: string): string {
  const path = posix.normalize(name);
  const bad =
    control.test(name) ||
    name === "" ||
    path.startsWith("/") ||
    path.startsWith("..") ||
    path.endsWith("/") ||
    path === ".";
  if (bad || Buffer.byteLength(path) > limits.moduleNameBytes)
    throw workerErrors.invalidUpload(`"${printable(name)}" is not a usable module name.`);
  return path;
}

/** A client's text, fit for an error message. */
function printable(text: string): string {
  const clean = JSON.stringify(text).slice(1, -1);
  return clean.length > 200 ? `${clean.slice(0, 200)}…` : clean;
}
