/**
 * Where SQL statements end. Only the text is looked at: quotes, identifiers, comments, and the bodies of triggers, which
 * hold semicolons of their own and end with `; END ;` as in SQLite's `sqlite3_complete()`.
 */

/** The statements of `text`, without those that are only comments. A text without an end is a statement too. */
export function splitStatements(text: string): string[] {
  if (!/;|--|\/\*/.test(text)) return text.trim() === "" ? [] : [text];
  const statements: string[] = [];
  let from = 0;
  while (from >= 0 && from < text.length) {
    const end = statementEnd(text, from);
    const statement = text.slice(from, end < 0 ? text.length : end);
    if (hasContent(statement)) statements.push(statements.length === 0 ? statement : statement.trimStart());
    from = end;
  }
  return statements;
}

/** Index just past the semicolon that ends the statement beginning at `from`; -1 when `text` ends first. */
export function statementEnd(text: string, from: number): number {
  const trigger = beginsTrigger(text, from);
  let at = from;
  for (;;) {
    at = nextSemicolon(text, at);
    if (at < 0 || !trigger) return at;
    const next = skipBlank(text, at);
    if (wordAt(text, next) !== "end") continue;
    const last = skipBlank(text, next + "end".length);
    if (last >= text.length) return -1;
    if (text[last] === ";") return last + 1;
  }
}

/** Whether `statement` holds anything besides blanks, comments and semicolons. */
export function hasContent(statement: string): boolean {
  let at = skipBlank(statement, 0);
  while (statement[at] === ";") at = skipBlank(statement, at + 1);
  return at < statement.length;
}

/** Whether every statement of `text` only reads, as far as its first word tells. `WITH` may begin a write. */
export function onlyReads(text: string): boolean {
  return splitStatements(text).every((statement) =>
    ["select", "values", "explain"].includes(wordAt(statement, skipBlank(statement, 0))),
  );
}

const blank = /\s+/y;
const word = /[\w$]+/y;
const special = /[;'"`[]|--|\/\*/g;

function nextSemicolon(text: string, from: number): number {
  special.lastIndex = from;
  for (;;) {
    const found = special.exec(text);
    if (!found) return -1;
    if (found[0] === ";") return found.index + 1;
    const end = endOfQuoted(text, found[0], found.index);
    if (end < 0) return -1;
    special.lastIndex = end;
  }
}

/** The end of a string, identifier or comment that `opening` begins at `at`; -1 when it has none. */
function endOfQuoted(text: string, opening: string, at: number): number {
  const closing = opening === "--" ? "\n" : opening === "/*" ? "*/" : opening === "[" ? "]" : opening;
  const found = text.indexOf(closing, at + opening.length);
  return found < 0 ? -1 : found + closing.length;
}

/** The index of the first character from `from` on that is neither blank nor in a comment. */
function skipBlank(text: string, from: number): number {
  let at = from;
  for (;;) {
    blank.lastIndex = at;
    if (blank.test(text)) at = blank.lastIndex;
    const opening = text.startsWith("--", at) ? "--" : text.startsWith("/*", at) ? "/*" : undefined;
    if (!opening) return at;
    const end = endOfQuoted(text, opening, at);
    if (end < 0) return text.length;
    at = end;
  }
}

/** The word at `at` in lower case; empty when there is none. */
function wordAt(text: string, at: number): string {
  word.lastIndex = at;
  return word.exec(text)?.[0].toLowerCase() ?? "";
}

function beginsTrigger(text: string, from: number): boolean {
  let at = from;
  const next = () => {
    at = skipBlank(text, at);
    const found = wordAt(text, at);
    at += found.length;
    return found;
  };
  let verb = next();
  if (verb === "explain") verb = next();
  if (verb === "query" && next() === "plan") verb = next();
  if (verb !== "create") return false;
  const object = next();
  return object === "trigger" || ((object === "temp" || object === "temporary") && next() === "trigger");
}
