import type { Context } from "hono";
import { limits } from "../shared/limits.ts";
import { errors } from "./errors.ts";

/** Room for the longest note: a character is up to three bytes of UTF-8, or six when JSON escapes it. */
const jsonBytes = limits.noteBodyLength * 6 + 10_000;

/** How many bytes the request says it carries. The platform holds it to that. */
export function declaredLength(c: Context): number {
  const length = Number(c.req.header("content-length") ?? Number.NaN);
  if (!Number.isSafeInteger(length)) throw errors.lengthRequired();
  return length;
}

/** The JSON object that a request carries. */
export async function readJson(c: Context): Promise<Record<string, unknown>> {
  if (declaredLength(c) > jsonBytes) throw errors.tooLarge("This is too long to be saved.");
  const value: unknown = await c.req.json().catch(() => undefined);
  if (typeof value !== "object" || value === null) throw errors.badRequest("The request has to carry a JSON object.");
  return value as Record<string, unknown>;
}

/** The text in `field`, or an error that names the field. */
export function text(from: Record<string, unknown>, field: string, { min = 0, max }: { min?: number; max: number }) {
  const value = from[field];
  if (typeof value !== "string") throw errors.invalid(field, `Please fill in the ${field}.`);
  if (value.length < min)
    throw errors.invalid(field, `Please use at least ${min} ${min === 1 ? "character" : "characters"}.`);
  if (value.length > max) throw errors.invalid(field, `Please use at most ${max} characters.`);
  return value;
}
