import { expect, test } from "vitest";
import { hasContent, onlyReads, splitStatements, statementEnd } from "#products/d1/sql-text.ts";

test.each([
  ["", []],
  [" \n\t", []],
  ["SELECT 1", ["SELECT 1"]],
  ["SELECT 1;", ["SELECT 1;"]],
  ["SELECT 1; SELECT 2", ["SELECT 1;", "SELECT 2"]],
  ["SELECT 1;;\n ; SELECT 2;", ["SELECT 1;", "SELECT 2;"]],
  ["-- only; a comment", []],
  ["/* only; */ ;", []],
  ["SELECT 1; -- the end; or so", ["SELECT 1;"]],
  ["-- first;\nSELECT 1;", ["-- first;\nSELECT 1;"]],
  ["SELECT 1 /* not ; here", ["SELECT 1 /* not ; here"]],
  ["SELECT ';'';', \"a;\"\"b\", `c;`, [d;] ; SELECT 2", ["SELECT ';'';', \"a;\"\"b\", `c;`, [d;] ;", "SELECT 2"]],
  ["SELECT 'never closed; SELECT 2", ["SELECT 'never closed; SELECT 2"]],
  ["SELECT a - b, c / d; SELECT 2", ["SELECT a - b, c / d;", "SELECT 2"]],
  ["SELECT 'ends;' AS \"end\"; END;", ["SELECT 'ends;' AS \"end\";", "END;"]],
])("%j is cut into %j", (text, statements) => {
  expect(splitStatements(text)).toEqual(statements);
});

const trigger = `CREATE TRIGGER t AFTER INSERT ON a BEGIN
  UPDATE a SET b = CASE WHEN c THEN 'end;' END; -- END;
  INSERT INTO ended VALUES (1);
END;`;

test.each([
  trigger,
  trigger.replace("CREATE", "create temp"),
  trigger.replace("CREATE", "  /* one; */ CREATE -- two;\n TEMPORARY"),
  trigger.replace("CREATE", "EXPLAIN CREATE"),
  trigger.replace("CREATE", "EXPLAIN QUERY PLAN CREATE"),
  trigger.replace("END;\n  INSERT", "END ; -- done\n INSERT").replace(/END;$/, "end /* ; */ ;"),
])("a trigger is one statement: %s", (statement) => {
  expect(splitStatements(`SELECT 1;${statement}SELECT 2;`)).toEqual(["SELECT 1;", statement.trimStart(), "SELECT 2;"]);
});

test("a trigger without a last semicolon is what is left", () => {
  expect(splitStatements(`SELECT 1; ${trigger.slice(0, -1)}`)).toEqual(["SELECT 1;", trigger.slice(0, -1)]);
});

test("the end is found wherever the text was cut before it", () => {
  const text = `${trigger} SELECT ';' -- ;\n;`;
  const first = statementEnd(text, 0);
  const second = statementEnd(text, first);
  expect([text.slice(0, first), text.slice(first, second)]).toEqual([trigger, " SELECT ';' -- ;\n;"]);
  for (let length = 0; length < first; length++) expect(statementEnd(text.slice(0, length), 0)).toBe(-1);
  for (let length = first; length < second; length++) expect(statementEnd(text.slice(0, length), first)).toBe(-1);
});

test("a statement of 5 MB is scanned once", () => {
  const text = `INSERT INTO t VALUES ${"('a;b', 1), -- c;\n".repeat(300_000)}(1);`;
  expect(statementEnd(text, 0)).toBe(text.length);
});

test("content is what is neither blank nor comment nor semicolon", () => {
  expect(["", " ; ;", "--x", "/**/;", "/* x"].map(hasContent)).toEqual([false, false, false, false, false]);
  expect(["a", "; 1", "--x\ny", "/* */ -"].map(hasContent)).toEqual([true, true, true, true]);
});

test("a text that may be sent twice only reads", () => {
  expect(["SELECT 1", " -- x\n select 1; EXPLAIN DELETE FROM t; VALUES (1)"].map(onlyReads)).toEqual([true, true]);
  expect(
    ["INSERT INTO t VALUES (1)", "SELECT 1; DELETE FROM t", "WITH a AS (SELECT 1) SELECT 1", "selection"].map(
      onlyReads,
    ),
  ).toEqual([false, false, false, false]);
});
