import { createHash, randomUUID } from "node:crypto";
import { access, link, mkdir, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { syncFolder, writeDurably } from "#core/durable-file.ts";
import { systemCode } from "#core/errors.ts";
import type { DataLayout } from "#core/layout.ts";
import { limits } from "#products/workers/schema.ts";

/** A file of a site: its path as wrangler sends it, and the blob that it is a name of. */
export type TreeFile = { path: string; blob: string; contentType: string };

const ownFiles = z.array(z.tuple([z.string(), z.string(), z.string()]));

/**
 * Hard links to the blobs under the names of the site. A link keeps the file's inode and time, and workerd makes its ETag
 * from those: a file that did not change stays 304 across deploys (workerd-runtime §2.5). Answers the folder's name.
 */
export async function buildTree(
  layout: DataLayout,
  own: readonly TreeFile[],
  kept: readonly TreeFile[],
): Promise<string> {
  const sorted = own.toSorted((a, b) => (a.path < b.path ? -1 : 1));
  const listing = sorted.map(({ path, blob, contentType }) => [path, blob, contentType]);
  const keptListing = kept.map(({ path, blob, contentType }) => [path, blob, contentType, "kept"]);
  const name = createHash("sha256")
    .update(JSON.stringify([...listing, ...keptListing]))
    .digest("hex")
    .slice(0, 32);
  if (await exists(layout.assetManifest(name))) return name;
  const temporary = join(layout.assetTrees, `.${randomUUID()}`);
  try {
    const root = join(temporary, "files");
    const all = [...sorted, ...kept];
    const folders = new Set([temporary, root, ...all.flatMap(({ path }) => parentsOf(join(root, path), root))]);
    for (const folder of folders) await mkdir(folder, { mode: 0o700 });
    for (const { path, blob } of all) await link(layout.blob(blob), join(root, path));
    const types = Object.fromEntries(all.map(({ path, contentType }) => [path, contentType]));
    await writeDurably(join(temporary, "manifest.json"), JSON.stringify(types));
    await writeDurably(join(temporary, "own.json"), JSON.stringify(listing));
    for (const folder of folders) await syncFolder(folder);
    await rename(temporary, dirname(layout.assetManifest(name)));
    await syncFolder(layout.assetTrees);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    // Another deploy of the same files was first; the folder is the same.
    if (!(await exists(layout.assetManifest(name)))) throw error;
  }
  return name;
}

/**
 * Files of `trees` that a page still open may ask for after the next deploy: those that the new set lacks and whose names
 * change with their contents, so that nothing else can be meant by them. What a tree itself had kept does not count again.
 */
export async function keptFiles(
  layout: DataLayout,
  { own, trees }: { own: readonly TreeFile[]; trees: readonly string[] },
): Promise<TreeFile[]> {
  const files = new Set(own.map(({ path }) => path));
  const folders = new Set(own.flatMap(({ path }) => ancestorsOf(path)));
  const kept = new Map<string, TreeFile>();
  for (const tree of trees) {
    for (const [path, blob, contentType] of await readOwn(layout, tree)) {
      const free = !files.has(path) && !folders.has(path) && !ancestorsOf(path).some((folder) => files.has(folder));
      if (!free || kept.has(path) || !hasContentHash(path)) continue;
      if (kept.size >= limits.keptAssetFiles) return inOrder(kept);
      kept.set(path, { path, blob, contentType });
    }
  }
  return inOrder(kept);
}

/** The set of `tree`'s own files with what is to be kept now; its name is another when that differs. */
export async function renewTree(layout: DataLayout, tree: string, trees: readonly string[]): Promise<string> {
  const listed = await readOwn(layout, tree);
  if (listed.length === 0) return tree;
  const own = listed.map(([path, blob, contentType]) => ({ path, blob, contentType }));
  return buildTree(layout, own, await keptFiles(layout, { own, trees }));
}

/**
 * Whether a file's name ends in a hash of its contents, as bundlers write it: `-Dk3_x9Qa.js`, `.5f3a90cc.chunk.css`. A page
 * itself never counts, nor a word (`-settings.js`) or a date (`-20260131.pdf`).
 */
function hasContentHash(path: string): boolean {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const [, hash = "", extension = ""] =
    /[-.]([A-Za-z0-9_]{8,64}|[A-Za-z0-9_-]{8})(?:\.chunk|\.min|\.bundle|\.module)?\.([A-Za-z0-9]{1,8}(?:\.map)?)$/.exec(
      name,
    ) ?? [];
  if (hash === "" || /^html?$/i.test(extension)) return false;
  if (/^(19|20)\d\d[01]\d[0-3]\d$/.test(hash)) return false;
  return /\d/.test(hash) || (/[a-z]/.test(hash) && /[A-Z]/.test(hash.slice(1)));
}

async function readOwn(layout: DataLayout, tree: string): Promise<z.infer<typeof ownFiles>> {
  try {
    return ownFiles.parse(JSON.parse(await readFile(layout.assetOwn(tree), "utf8")));
  } catch (error) {
    // A tree of before files were kept.
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
}

/** `/a/b/c.js` → `/a`, `/a/b`. */
function ancestorsOf(path: string): string[] {
  const ancestors: string[] = [];
  for (let at = path.lastIndexOf("/"); at > 0; at = path.lastIndexOf("/", at - 1)) ancestors.push(path.slice(0, at));
  return ancestors;
}

function inOrder(kept: ReadonlyMap<string, TreeFile>): TreeFile[] {
  const files = [...kept.values()].toSorted((a, b) => (a.path < b.path ? -1 : 1));
  // Two trees may have a name once as a file and once as a folder: the file goes.
  const folders = new Set(files.flatMap(({ path }) => ancestorsOf(path)));
  return files.filter(({ path }) => !folders.has(path));
}

/** Folders between `root` and a file, the outermost first. */
function parentsOf(file: string, root: string): string[] {
  const parents: string[] = [];
  for (let folder = dirname(file); folder !== root; folder = dirname(folder)) parents.unshift(folder);
  return parents;
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}
