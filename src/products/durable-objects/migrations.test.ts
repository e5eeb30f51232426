import { expect, test } from "vitest";
import { planMigrations, type MigrationRequest } from "#products/durable-objects/migrations.ts";
import { migrations, type ObjectNamespace } from "#products/durable-objects/schema.ts";

/** Migrations as uploads carry them (wrangler-api §3.4), with the errors that real uploads get. */
const now = "2026-11-01T00:00:00.000Z";
const owned = (className: string, more: Partial<ObjectNamespace> = {}): ObjectNamespace => ({
  id: `id of ${className}`,
  accountId: "account",
  workerId: "worker",
  className,
  sqlite: true,
  createdOn: now,
  ...more,
});

function plan(upload: object | undefined, more: Partial<MigrationRequest> = {}) {
  return planMigrations({
    accountId: "account",
    workerId: "worker",
    current: [],
    currentTag: undefined,
    migrations: upload === undefined ? undefined : migrations.parse(upload),
    exported: new Set(["A", "B", "C"]),
    bound: new Set(),
    findOther: () => undefined,
    now,
    ...more,
  });
}

const shape = ({ namespaces, deleted, tag }: ReturnType<typeof plan>) => ({
  classes: namespaces.map(({ className, sqlite }) => [className, sqlite ? "sqlite" : "kv"].join()),
  deleted,
  tag,
});

test("new classes of both kinds, in the steps of wrangler", () => {
  const made = plan({ new_tag: "v2", steps: [{ new_sqlite_classes: ["A"] }, { new_classes: ["B"] }] });
  expect(shape(made)).toEqual({ classes: ["A,sqlite", "B,kv"], deleted: [], tag: "v2" });
  expect(new Set(made.namespaces.map(({ id }) => id)).size).toBe(2);
});

test("a rename keeps the namespace, a deletion names what goes, a transfer brings one from another Worker", () => {
  const made = plan(
    {
      old_tag: "v1",
      new_tag: "v2",
      steps: [
        { renamed_classes: [{ from: "Old", to: "A" }], deleted_classes: ["Gone"] },
        { transferred_classes: [{ from: "Theirs", from_script: "other", to: "B" }] },
      ],
    },
    {
      current: [owned("Old"), owned("Gone")],
      currentTag: "v1",
      findOther: (script, name) => (script === "other" ? owned(name, { workerId: "other", sqlite: false }) : undefined),
    },
  );
  expect(made.namespaces).toEqual([
    owned("Old", { className: "A" }),
    owned("Theirs", { className: "B", sqlite: false }),
  ]);
  expect(made).toMatchObject({ deleted: ["id of Gone"], tag: "v2" });
});

test("an upload without migrations keeps everything", () => {
  expect(shape(plan(undefined, { current: [owned("A")], currentTag: "v1" }))).toEqual({
    classes: ["A,sqlite"],
    deleted: [],
    tag: "v1",
  });
});

test("a class made and deleted in the same upload leaves nothing to delete", () => {
  const made = plan({ new_tag: "v2", steps: [{ new_sqlite_classes: ["Gone"] }, { deleted_classes: ["Gone"] }] });
  expect(shape(made)).toEqual({ classes: [], deleted: [], tag: "v2" });
});

const refused: [string, object | undefined, Partial<MigrationRequest>, number, string][] = [
  [
    "a tag that is not there",
    { new_tag: "v1" },
    { currentTag: "v1" },
    10079,
    "Migration tag precondition failed; current tag is v1",
  ],
  ["an old tag of a Worker without one", { old_tag: "v1", new_tag: "v2" }, {}, 10079, "has no migration tag"],
  [
    "a class that exists",
    { new_tag: "v1", steps: [{ new_classes: ["A"] }] },
    { current: [owned("A")] },
    10074,
    "already depended on",
  ],
  [
    "a class that code lacks",
    { new_tag: "v1", steps: [{ new_classes: ["X"] }] },
    {},
    10070,
    "not exported by the script",
  ],
  ["code that lost a class", undefined, { current: [owned("X")] }, 10064, "does not export class 'X'"],
  [
    "a bound class to delete",
    { deleted_classes: ["A"] },
    { current: [owned("A")], bound: new Set(["A"]) },
    10061,
    "without also removing the binding",
  ],
  [
    "a missing class to rename",
    { renamed_classes: [{ from: "X", to: "A" }] },
    {},
    10072,
    "rename-class migration to class 'X'",
  ],
  [
    "a missing class to transfer",
    { transferred_classes: [{ from: "X", from_script: "s", to: "A" }] },
    {},
    10072,
    "transfer-class",
  ],
  [
    "two migrations of one class",
    { new_classes: ["A"], new_sqlite_classes: ["A"] },
    {},
    10021,
    "more than one migration",
  ],
];

test.each(refused)("refused: %s", (_name, upload, more, code, message) => {
  expect(() => plan(upload, more)).toThrow(
    expect.objectContaining({
      entries: [expect.objectContaining({ code, message: expect.stringContaining(message) })],
    }),
  );
});
