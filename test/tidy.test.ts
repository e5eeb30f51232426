import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { expect, test } from "vitest";

/**
 * The shape of the source tree, as a test. Who may import whom: a folder is listed with what it may see besides itself.
 * When this stops you it is usually right; when it is wrong, change the table in a commit of its own.
 */
const layers: Record<string, readonly string[]> = {
  "src/core": [],
  "src/environment.ts": ["src/core"],
  "src/config.ts": ["src/core", "src/environment.ts"],
  "src/http": ["src/core"],
  "src/db": ["src/core"],
  "src/products": ["src/core", "src/http", "src/db"],
  "src/runtime": ["src/core", "src/http", "src/db", "src/products"],
  "src/ingress": ["src/core", "src/http", "src/runtime/routes.ts"],
  "src/api.ts": ["src/core", "src/http", "src/products"],
  "src/cli": ["src/core", "src/config.ts", "src/environment.ts", "src/http", "src/runtime", "src/products"],
  "src/roles": ["src"],
  "src/main.ts": ["src"],
};

/** A product may see another only through an edge that stands here. One way, few, each with its reason. */
const productEdges: Record<string, readonly string[]> = {
  // An upload checks that what it binds exists, and a version names its bindings' targets.
  workers: ["kv", "r2", "d1", "queues", "durable-objects", "workflows"],
  // Instances live among a Worker's objects, and schedules are cron's.
  workflows: ["durable-objects", "cron"],
  // A route and a custom domain lead to a Worker, and a custom domain is not a bucket's.
  zones: ["workers", "r2"],
};

const root = join(import.meta.dirname, "..");
const sources = list("src");
const imports = sources.flatMap((file) => importsOf(file).map((target) => ({ file, target })));

test("imports follow the layers", () => {
  const wrong = imports.filter(({ file, target }) => !mayImport(file, target));
  expect(wrong.map(({ file, target }) => `${file} imports ${target}`)).toEqual([]);
});

test("no file imports itself through others", () => {
  const next = Map.groupBy(imports, ({ file }) => file);
  const cycles: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, path: string[]) => {
    if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(" → "));
    if (done.has(file) || path.includes(file)) return;
    for (const { target } of next.get(file) ?? []) visit(target, [...path, file]);
    done.add(file);
  };
  for (const file of sources) visit(file, []);
  expect(cycles).toEqual([]);
});

test("file names say what they hold", () => {
  const name = /^[a-z0-9]+(-[a-z0-9]+)*(\.(worker|test|contract))*\.tsx?$/;
  const empty = /(^|\/)(utils?|helpers?|common|misc|manager|index|types)\./;
  expect(
    list("src", "test", "bench", "scripts").filter(
      (file) =>
        // Copies of projects that other tests deploy at this moment.
        !file.startsWith("test/.projects/") && (!name.test(file.split("/").at(-1) ?? "") || empty.test(file)),
    ),
  ).toEqual([]);
});

test("only environment.ts reads the environment", () => {
  const readers = sources.filter(
    (file) => !file.endsWith(".worker.ts") && !file.endsWith(".test.ts") && /process\.env\b/.test(read(file)),
  );
  expect(readers).toEqual(["src/environment.ts"]);
});

test("only the command line and the logger print", () => {
  const printers = sources.filter((file) =>
    /\bprocess\.(stdout|stderr)\.write\b|\bconsole\.(log|info|warn|error|debug)\(/.test(withoutComments(read(file))),
  );
  const allowed = (file: string) =>
    file.startsWith("src/cli/") ||
    file === "src/core/log.ts" ||
    file.endsWith(".worker.ts") ||
    file.endsWith(".test.ts");
  expect(printers.filter((file) => !allowed(file))).toEqual([]);
});

test("nothing starts a shell", () => {
  const shells = sources.filter((file) =>
    /\bexec(Sync)?\(|shell: *true/.test(withoutComments(read(file)).replaceAll(/\.exec\(/g, "")),
  );
  expect(shells).toEqual([]);
});

test("the example depends on the versions that are installed here", () => {
  const ours = JSON.parse(read("package.json")) as Record<string, Record<string, string>>;
  const all = { ...ours["dependencies"], ...ours["devDependencies"] };
  for (const manifest of list("examples").filter((file) => file.endsWith("/package.json"))) {
    const { dependencies = {}, devDependencies = {} } = JSON.parse(read(manifest)) as Record<
      string,
      Record<string, string>
    >;
    for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies }))
      expect.soft(`${name}@${version}`).toBe(`${name}@${all[name]}`);
  }
});

function list(...folders: string[]): string[] {
  return folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.tsx?$|package\.json$/.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
      .filter((file) => !/node_modules|\/dist\/|test\/projects\//.test(file)),
  );
}

function read(file: string): string {
  return readFileSync(join(root, file), "utf8");
}

function withoutComments(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "");
}

/** Files of ours that `file` imports, types included. */
function importsOf(file: string): string[] {
  const found = read(file).matchAll(/^(?:import|export)\b[^;]*?\bfrom\s+"([^"]+)"|\bimport\(\s*"([^"]+)"\s*\)/gm);
  return [...found].flatMap(([, from, dynamic]) => {
    const specifier = from ?? dynamic ?? "";
    if (specifier.startsWith("#")) return [`src/${specifier.slice(1)}`];
    return specifier.startsWith(".") && specifier.endsWith(".ts") ? [normalize(join(dirname(file), specifier))] : [];
  });
}

function mayImport(file: string, target: string): boolean {
  if (/\.(test|contract)\.ts$/.test(file)) return true;
  const home = layerOf(file);
  if (layerOf(target) !== home) return (layers[home] ?? []).some((allowed) => isIn(target, allowed));
  const [from, to] = [productOf(file), productOf(target)];
  return from === undefined || to === undefined || from === to || (productEdges[from] ?? []).includes(to);
}

function layerOf(file: string): string {
  return Object.keys(layers).find((layer) => isIn(file, layer)) ?? file;
}

function isIn(file: string, folder: string): boolean {
  return file === folder || file.startsWith(`${folder}/`);
}

function productOf(file: string): string | undefined {
  return /^src\/products\/([^/]+)\//.exec(file)?.[1];
}
