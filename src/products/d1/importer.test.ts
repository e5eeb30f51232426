import { expect, test } from "vitest";
import { Importer } from "#products/d1/importer.ts";

function record() {
  const texts: string[] = [];
  const importer = new Importer({
    ingest(text) {
      texts.push(text);
      return { remainder: "", rowsRead: 1, rowsWritten: 2, statementCount: text.split(";").length - 1 };
    },
  });
  return { texts, importer };
}

test("whole statements are run as they arrive, wherever the pieces are cut", () => {
  const one = `INSERT INTO t VALUES ('${"x;".repeat(5000)}');`;
  const text = `${`${one}\n`.repeat(30)}-- done\n`;
  for (const size of [1000, 4096, 65_536, 100_000, text.length]) {
    const { texts, importer } = record();
    let most = 0;
    for (let at = 0; at < text.length; at += size) {
      importer.write(text.slice(at, at + size));
      most = Math.max(most, at + size - texts.join("").length);
    }
    importer.end();
    expect(texts.join("")).toBe(`${one}\n`.repeat(30).trimEnd());
    expect(most).toBeLessThan(65_536 + one.length + 2 * size);
  }
});

test("empty statements are left out", () => {
  const { texts, importer } = record();
  importer.write("SELECT 1;; /* x */ ; SELECT 2; SELECT 3;;");
  importer.end();
  expect(texts).toEqual(["SELECT 1;", " SELECT 2; SELECT 3;"]);
});

test("the last statement needs no semicolon, even after a comment", () => {
  const { texts, importer } = record();
  importer.write("SELECT 1; SELECT 2 -- x");
  importer.end();
  expect(texts).toEqual(["SELECT 1;", " SELECT 2 -- x\n;"]);
  expect(importer.rowsWritten).toBe(4);
});

test("a statement that does not end is refused before it fills the memory", () => {
  const { importer } = record();
  const piece = "x".repeat(70_000);
  importer.write(`INSERT INTO t VALUES ('${piece}`);
  expect(() => importer.write(piece)).toThrow("statement too long: SQLITE_TOOBIG");
});

test("a file without a statement is refused", () => {
  const { importer } = record();
  importer.write("-- nothing;\n");
  expect(() => importer.end()).toThrow("No SQL statements detected.");
});
