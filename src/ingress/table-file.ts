import { open, mkdir, readFile, rename, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import { createLogger } from "#core/log.ts";
import { systemCode } from "#core/errors.ts";
import type { RoutingTable } from "#runtime/routes.ts";

/**
 * The last table that was good, on disk: what a new ingress process serves from until its supervisor speaks. Whoever made
 * it is kept with it, since generations count only among one supervisor's tables.
 */
export type SignedTable = { supervisor: string; table: RoutingTable };

const log = createLogger("ingress.table");

/** The format of the file. A file of another one is not read. */
const format = 1;

const name = z.string().min(1).max(512);
// A unix socket's path ends at 107 bytes.
const socket = z.string().min(1).max(107);
const route = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("console") }),
  z.strictObject({
    kind: z.literal("platform"),
    socket,
    bodyBytesMax: z.number().int().positive().optional(),
    asleep: name.optional(),
  }),
  z.strictObject({
    kind: z.literal("worker"),
    script: name,
    versions: z.array(z.strictObject({ target: name, weight: z.number().min(0).max(100) })).max(16),
  }),
]);

const target = z.strictObject({
  // It names a folder of sockets, so it may hold nothing that leads out of one.
  workerId: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/),
  script: name,
  versionId: name,
  sockets: z.array(socket).max(1024),
  down: z.string().max(4096).optional(),
  asleep: z.literal(true).optional(),
});

const pattern = z.strictObject({
  host: z
    .string()
    .regex(/^(\*|\*?[.-]?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?)$/)
    .max(255),
  path: z
    .string()
    .regex(/^\/[^*?#]*\*?$/)
    .max(4096),
  scheme: z.enum(["http", "https"]).optional(),
  zone: z.string().min(1).max(255).optional(),
  route: route.nullable(),
});

const signedTable = z.strictObject({
  supervisor: name,
  table: z.strictObject({
    generation: z.number().int().nonnegative(),
    hosts: z.record(name, route),
    patterns: z.array(pattern).max(100_000).default([]),
    services: z.record(name, route),
    targets: z.record(name, target),
  }),
});

/** `input` as a table, or a ZodError that says what is wrong with it. */
export function parseSignedTable(input: unknown): SignedTable {
  return signedTable.parse(input) as SignedTable;
}

/** The table that was written last at one of `paths`. */
export async function loadNewest(paths: readonly string[]): Promise<SignedTable | undefined> {
  const dated = await Promise.all(
    paths.map(async (path) => ({
      path,
      writtenMs: await stat(path).then(
        ({ mtimeMs }) => mtimeMs,
        () => 0,
      ),
    })),
  );
  for (const { path } of dated.toSorted((a, b) => b.writtenMs - a.writtenMs)) {
    const table = await loadTable(path);
    if (table) return table;
  }
  return undefined;
}

/** The table at `path`, or undefined when there is none that can be used; a bad file is a log line and not a failure to start. */
async function loadTable(path: string): Promise<SignedTable | undefined> {
  try {
    const { format: written, ...rest } = z
      .looseObject({ format: z.number() })
      .parse(JSON.parse(await readFile(path, "utf8")));
    if (written !== format) throw new Error(`format ${written} is not known`);
    return parseSignedTable(rest);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") log.warn("the last good routing table cannot be used", { path, error });
    return undefined;
  }
}

/** Writes `signed` so that after a power loss there is the whole old table or the whole new one. */
export async function saveTable(path: string, signed: SignedTable): Promise<void> {
  const folder = dirname(path);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const temporary = `${path}.new`;
  await using file = await open(temporary, "w", 0o600);
  await file.writeFile(JSON.stringify({ format, ...signed }));
  await file.sync();
  await rename(temporary, path);
  await using directory = await open(folder, "r");
  await directory.sync();
}
