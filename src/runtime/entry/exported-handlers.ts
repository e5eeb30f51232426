import { handlerNames } from "#runtime/entry/trigger.ts";

/** What a version's exports can be called as: what the API shows of a version (wrangler-api §6). */
export type ExportedHandlers = { handlers: string[]; namedHandlers: { name: string; handlers: string[] }[] };

/** `exported`: the user's exports by name. */
export function exportedHandlers(exported: ReadonlyMap<string, unknown>): ExportedHandlers {
  const named = [...exported].filter(([name, value]) => name !== "default" && hasHandlers(value));
  return {
    handlers: handlersOf(exported.get("default")),
    namedHandlers: named.map(([name, value]) => ({ name, handlers: handlersOf(value) })),
  };
}

/** A class counts even without any: its methods are called over RPC. */
function hasHandlers(value: unknown): boolean {
  return typeof value === "function" ? value.prototype !== undefined : handlersOf(value).length > 0;
}

function handlersOf(value: unknown): string[] {
  const owner: unknown = typeof value === "function" ? value.prototype : value;
  if (typeof owner !== "object" || owner === null) return [];
  return handlerNames.filter((name) => typeof Reflect.get(owner, name) === "function");
}
