import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { newUuid } from "#core/ids.ts";
import { databaseFile } from "#products/d1/database-files.ts";
import { d1Hosts } from "#products/d1/host-client.ts";
import { openKvStore } from "#products/kv/sqlite-store.ts";
import { failure, bytesOf } from "#products/kv/suite.contract.ts";
import { startD1Host, testFolders, testKey } from "../support/d1-host.ts";

/** Runs a command with a small disk of its own mounted at its first argument. */
const smallDisk = (megabytes: number) => [
  "unshare",
  "--map-root-user",
  "--mount",
  "sh",
  "-c",
  `mount -t tmpfs -o size=${megabytes}m tmpfs "$0" && exec "$@"`,
];
const [unshare = "", ...rest] = smallDisk(1);
const canMount = spawnSync(unshare, [...rest, tmpdir(), "true"]).status === 0;

test("KV: a byte that flips inside a value, wherever it is, is an error and never served", async () => {
  const folder = mkdtempSync(join(tmpdir(), "solum-damage-"));
  try {
    const paths = { file: join(folder, "kv.db"), values: join(folder, "kv") };
    const rounds = 50;
    /** What a value holds again and again tells it from all others, wherever it ends up. */
    const kinds = [
      ["in its row", 180],
      ["in a row of its own", 20_000],
      ["in a file", 1_200_000],
    ] as const;
    const all = kinds.flatMap(([kind, size]) =>
      Array.from({ length: rounds }, (_, n) => {
        const text = Buffer.from(`<${kind}, number ${n}>`);
        return { key: `${kind} ${n}`, text, body: Buffer.alloc(size, text) };
      }),
    );
    let space: { boundNamespaceId: string };
    {
      await using store = await openKvStore(paths);
      space = { boundNamespaceId: (await store.createNamespace("acme", "main")).id };
      for (const { key, body } of all) await store.put(space, key, { body });
      await store.put(space, "neighbour", { body: Buffer.from("untouched") });
    }
    const files = readdirSync(paths.values, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
    for (const path of [paths.file, ...files]) {
      const bytes = readFileSync(path);
      for (const { text } of all) flipIn(bytes, text);
      writeFileSync(path, bytes);
    }
    await using store = await openKvStore(paths);
    for (const { key } of all) {
      const reading = async () => bytesOf((await store.get(space, key))?.body);
      await expect(reading(), key).rejects.toThrow(failure(500, 10503, "The stored value of this key is damaged"));
    }
    expect((await bytesOf((await store.get(space, "neighbour"))?.body)).toString()).toBe("untouched");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** Changes a random bit of `text` wherever `bytes` holds it: SQLite leaves old copies of rows that it has moved. */
function flipIn(bytes: Buffer, text: Buffer): void {
  const offset = Math.floor(Math.random() * text.length);
  const bit = 1 << Math.floor(Math.random() * 8);
  for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text, at + text.length))
    bytes[at + offset] = (bytes[at + offset] ?? 0) ^ bit;
}

test.skipIf(!canMount)(
  "KV: on a full disk writes are refused, reads and deletes go on, and room that is made is used (needs mount namespaces)",
  () => {
    const folder = mkdtempSync(join(tmpdir(), "solum-small-"));
    const [command = "", ...args] = smallDisk(64);
    const script = join(import.meta.dirname, "kv-small-disk.ts");
    const program = [process.execPath, "--disable-warning=ExperimentalWarning", script];
    const { stdout, stderr } = spawnSync(command, [...args, folder, ...program, folder], { encoding: "utf8" });
    rmSync(folder, { recursive: true });
    expect(JSON.parse(stdout || JSON.stringify(stderr))).toEqual({
      refusals: ["507 10500 storage_full: the disk that holds the data is full. Nothing was written."],
      whileFull: { written: expect.any(Number) as number, wrong: 0 },
      afterwards: { written: true, wrong: 0 },
      readOnly: expect.stringMatching(/read-only|readonly/i) as string,
    });
  },
);

test.skipIf(!canMount)(
  "D1: on a full disk writes are refused and undone, reads go on, and room that is made is used (needs mount namespaces)",
  async () => {
    const folders = testFolders();
    const hosts = d1Hosts({ socketOf: folders.runtime.d1Host, capabilityKey: testKey, scope: "control" });
    const host = await startD1Host(folders, 0, 0, smallDisk(8));
    const place = { host: 0, id: newUuid() };
    const other = { host: 0, id: newUuid() };
    const query = async (sql: string) => (await hosts.queryColumns(place, [{ sql }]))[0]?.results.rows;
    try {
      for (const each of [place, other]) await hosts.create(each);
      await hosts.queryColumns(other, [{ sql: "CREATE TABLE t AS SELECT zeroblob(1000000)" }]);
      await query("CREATE TABLE t (n, filling)");
      let written = 0;
      const fill = async () => {
        for (;;) {
          try {
            await query(`INSERT INTO t VALUES (${written}, zeroblob(100000))`);
          } catch (error) {
            return String(error);
          }
          written++;
        }
      };
      const refusal = await fill();
      expect(refusal).toMatch(/database or disk is full: SQLITE_FULL|disk I\/O error: SQLITE_IOERR/);
      expect(await query("SELECT count(*), max(n) FROM t")).toEqual([[written, written - 1]]);
      await hosts.remove(other);
      await query("INSERT INTO t VALUES (-1, zeroblob(100000))");
      expect(await query("SELECT count(*) FROM t WHERE n = -1")).toEqual([[1]]);
    } finally {
      hosts.close();
      await host.kill();
      folders.remove();
    }
  },
);

test("D1: a database whose file is damaged says so, and its neighbours go on", async () => {
  const folders = testFolders();
  const hosts = d1Hosts({ socketOf: folders.runtime.d1Host, capabilityKey: testKey, scope: "control" });
  const [damaged, sound] = [newUuid(), newUuid()].map((id) => ({ host: 0, id }));
  if (!damaged || !sound) throw new Error("two places");
  let host = await startD1Host(folders);
  try {
    for (const place of [damaged, sound]) {
      await hosts.create(place);
      await hosts.queryColumns(place, [{ sql: "CREATE TABLE t (x); INSERT INTO t VALUES (1)" }]);
    }
    await host.kill();
    const file = databaseFile(folders.data.d1Host(0), damaged.id);
    // The log would mend the pages: it goes as well.
    for (const suffix of ["-wal", "-shm"]) rmSync(`${file}${suffix}`, { force: true });
    const bytes = readFileSync(file);
    writeFileSync(file, Buffer.concat([Buffer.alloc(100, 1), bytes.subarray(100)]));
    host = await startD1Host(folders);
    await expect(hosts.queryColumns(damaged, [{ sql: "SELECT x FROM t" }])).rejects.toThrow(
      /SQLITE_NOTADB|Internal error in D1 DB storage/,
    );
    expect((await hosts.queryColumns(sound, [{ sql: "SELECT x FROM t" }]))[0]?.results.rows).toEqual([[1]]);
  } finally {
    hosts.close();
    await host.kill();
    folders.remove();
  }
});
