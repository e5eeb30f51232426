import type { ErrorInfo, LogException } from "#products/logs/schema.ts";

/**
 * The arguments of a `console` call as JSON text, by the rule of workerd's own tail (observed; `entry.test.ts` compares the
 * two): what JSON can carry stays what it is, anything else becomes its string, and what throws on the way becomes `{}`.
 * An argument's text ends at `max` bytes.
 */
export function formatMessage(args: readonly unknown[], max: number): string {
  let text = "[";
  let left = max;
  for (let index = 0; index < args.length; index++) {
    const piece = bounded(formatArgument(args[index]), left);
    left = Math.max(0, left - piece.length);
    text += index === 0 ? piece : `,${piece}`;
  }
  return `${text}]`;
}

/** For every argument that is an Error what it says, as JSON text; undefined when none is. */
export function formatErrors(args: readonly unknown[]): string | undefined {
  if (!args.some(isError)) return undefined;
  return stringify(args.map((arg) => (isError(arg) ? errorInfo(arg) : null)));
}

/** What was thrown, as workerd's tail tells it: an Error by its members, anything else by its string. */
export function exceptionOf(thrown: unknown, timestamp: number): LogException {
  return { ...errorInfo(thrown), timestamp };
}

const { stringify } = JSON;
const errorTextMax = 32 * 1024;

function formatArgument(value: unknown): string {
  if (typeof value === "string") return stringify(value);
  try {
    // oxlint-disable-next-line typescript/no-unnecessary-template-expression, typescript/no-unnecessary-type-assertion -- not `String(value)`: a symbol must throw here.
    if (!isJson(value)) return stringify(`${value as string}`);
    return stringify(value) ?? "null";
  } catch {
    return "{}";
  }
}

function isJson(value: unknown): boolean {
  if (value === null || value === undefined) return true;
  if (typeof value === "number" || typeof value === "boolean" || Array.isArray(value)) return true;
  if (typeof value !== "object" && typeof value !== "function") return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === null || prototype === Object.prototype) return true;
  return "toJSON" in value && typeof value.toJSON === "function";
}

/** `json`, or as much of it as fits, as a string that says so. */
function bounded(json: string, max: number): string {
  if (json.length <= max) return json;
  return stringify(`${json.slice(0, max)}... [truncated: ${json.length} characters]`);
}

function isError(value: unknown): value is Error {
  return value instanceof Error;
}

function errorInfo(thrown: unknown): ErrorInfo {
  try {
    if (typeof thrown !== "object" || thrown === null) return { name: "Error", message: cut(textOf(thrown)) };
    const { name, message, stack } = thrown as { name?: unknown; message?: unknown; stack?: unknown };
    if (typeof message !== "string") return { name: "Error", message: cut(textOf(thrown)) };
    const info: ErrorInfo = { name: typeof name === "string" ? name : "Error", message: cut(message) };
    const frames = typeof stack === "string" ? framesOf(stack) : "";
    return frames === "" ? info : { ...info, stack: cut(frames) };
  } catch {
    // A getter of the thrown object threw in its turn.
    return { name: "Error", message: "" };
  }
}

/** What JavaScript makes of anything when it wants a string, as workerd does. */
function textOf(thrown: unknown): string {
  // oxlint-disable-next-line typescript/no-base-to-string -- `[object Object]` is what workerd says, too.
  return String(thrown);
}

/** The `at ...` lines of a stack without those of the entry module, which the user did not write. */
function framesOf(stack: string): string {
  return stack
    .split("\n")
    .filter((line) => /^\s+at /.test(line) && !line.includes("solum:"))
    .join("\n");
}

function cut(text: string): string {
  return text.length <= errorTextMax ? text : `${text.slice(0, errorTextMax)}...`;
}
