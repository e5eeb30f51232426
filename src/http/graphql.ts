/**
 * The part of GraphQL that Cloudflare's analytics queries use: one operation of nested fields with aliases, arguments and
 * variables; no fragments and no directives (https://spec.graphql.org/October2021/).
 */
export type Selection = { name: string; as: string; args: Record<string, unknown>; fields: Selection[] };

/** A query that cannot be read; its message is for whoever wrote it. */
export class GraphqlError extends Error {
  override readonly name = "GraphqlError";
}

/** The fields that `query` asks for, variables put in. */
export function parseGraphql(query: string, variables: Record<string, unknown>): Selection[] {
  const parser = new Parser(tokensOf(query), variables);
  return parser.operation();
}

/** `value` with what `fields` ask for, and nothing else. Lists are gone through; a member that it lacks is null. */
export function pick(value: unknown, fields: readonly Selection[]): unknown {
  if (Array.isArray(value)) return value.map((item) => pick(item, fields));
  if (fields.length === 0 || typeof value !== "object" || value === null) return value ?? null;
  const members = value as Record<string, unknown>;
  return Object.fromEntries(
    fields.map((field) => [
      field.as,
      Object.hasOwn(members, field.name) ? pick(members[field.name], field.fields) : null,
    ]),
  );
}

const limits = { characters: 100_000, depth: 20 };

const token =
  /[\s,\uFEFF]+|#[^\n]*|("(?:\\.|[^"\\\n])*"|\.\.\.|[A-Za-z_]\w*|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|[{}()[\]:$!=|@&])/y;

function tokensOf(query: string): string[] {
  if (query.length > limits.characters) throw new GraphqlError("the query is too long");
  const tokens: string[] = [];
  token.lastIndex = 0;
  while (token.lastIndex < query.length) {
    const at = token.lastIndex;
    const found = token.exec(query);
    if (!found) throw new GraphqlError(`syntax error: unexpected character at ${at}`);
    if (found[1] !== undefined) tokens.push(found[1]);
  }
  return tokens;
}

class Parser {
  readonly #tokens: string[];
  readonly #variables: Record<string, unknown>;
  #at = 0;

  constructor(tokens: string[], variables: Record<string, unknown>) {
    this.#tokens = tokens;
    this.#variables = variables;
  }

  operation(): Selection[] {
    if (this.#peek() !== "{") {
      this.#expect("query");
      if (this.#peek() !== "{" && this.#peek() !== "(") this.#next();
      if (this.#peek() === "(") this.#skipDefinitions();
    }
    const fields = this.#fields(0);
    if (this.#peek() !== undefined) throw new GraphqlError("there must be one operation");
    return fields;
  }

  #fields(depth: number): Selection[] {
    if (depth > limits.depth) throw new GraphqlError("the query is too deep");
    this.#expect("{");
    const fields: Selection[] = [];
    while (!this.#take("}")) {
      const as = this.#name();
      const name = this.#take(":") ? this.#name() : as;
      const args = this.#take("(") ? this.#members(")", depth) : {};
      fields.push({ name, as, args, fields: this.#peek() === "{" ? this.#fields(depth + 1) : [] });
    }
    return fields;
  }

  #members(end: string, depth: number): Record<string, unknown> {
    const entries: [string, unknown][] = [];
    while (!this.#take(end)) {
      const name = this.#name();
      this.#expect(":");
      entries.push([name, this.#value(depth + 1)]);
    }
    return Object.fromEntries(entries);
  }

  #value(depth: number): unknown {
    if (depth > limits.depth) throw new GraphqlError("the query is too deep");
    const text = this.#next();
    if (text === "$") return this.#variables[this.#name()];
    if (text === "{") return this.#members("}", depth);
    if (text === "[") {
      const items: unknown[] = [];
      while (!this.#take("]")) items.push(this.#value(depth + 1));
      return items;
    }
    if (text.startsWith('"')) return JSON.parse(text);
    if (/^-?\d/.test(text)) return Number(text);
    if (text === "true" || text === "false") return text === "true";
    if (text === "null") return null;
    if (/^[A-Za-z_]/.test(text)) return text;
    throw new GraphqlError(`syntax error: unexpected ${text}`);
  }

  /** `($name: Type = default)`: what a variable may be is not checked. */
  #skipDefinitions(): void {
    let open = 0;
    do {
      const text = this.#next();
      if (text === "(") open++;
      if (text === ")") open--;
    } while (open > 0);
  }

  #name(): string {
    const text = this.#next();
    if (!/^[A-Za-z_]/.test(text)) throw new GraphqlError(`syntax error: expected a name, found ${text}`);
    return text;
  }

  #expect(wanted: string): void {
    const text = this.#next();
    if (text !== wanted) throw new GraphqlError(`syntax error: expected ${wanted}, found ${text}`);
  }

  #take(wanted: string): boolean {
    if (this.#peek() !== wanted) return false;
    this.#at++;
    return true;
  }

  #peek(): string | undefined {
    return this.#tokens[this.#at];
  }

  #next(): string {
    const text = this.#tokens[this.#at++];
    if (text === undefined) throw new GraphqlError("syntax error: unexpected end of the query");
    return text;
  }
}
