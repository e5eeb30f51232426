/** One entry of the `errors` array in a v4 envelope. `meta` is what wrangler attaches to its own error (code 100402). */
export type ErrorEntry = { code: number; message: string; meta?: Record<string, unknown> };

/**
 * An error that the caller can act on: it becomes a v4 envelope, an S3 document or a binding's error, whichever dialect
 * the caller speaks. Anything else that is thrown is a bug and is answered as an internal error without its details.
 */
export class ApiError extends Error {
  override readonly name = "ApiError";
  /** HTTP status. */
  readonly status: number;
  /** Cloudflare's numeric code; clients branch on the first one. */
  readonly code: number;
  readonly entries: readonly ErrorEntry[];

  constructor(
    status: number,
    code: number,
    message: string,
    options: { cause?: unknown; meta?: Record<string, unknown>; more?: ErrorEntry[] } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.status = status;
    this.code = code;
    const first: ErrorEntry = options.meta ? { code, message, meta: options.meta } : { code, message };
    this.entries = [first, ...(options.more ?? [])];
  }
}

/** What crosses a thread or a socket in place of an ApiError. */
export type ErrorRecord = { status: number; entries: ErrorEntry[] };

export function toErrorRecord(error: ApiError): ErrorRecord {
  return { status: error.status, entries: [...error.entries] };
}

export function fromErrorRecord(record: ErrorRecord): ApiError {
  const [first, ...more] = record.entries;
  if (!first) return new ApiError(record.status, 0, "Unknown error");
  return new ApiError(record.status, first.code, first.message, first.meta ? { meta: first.meta, more } : { more });
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** `code` of a Node system error (`ENOENT`, `EADDRINUSE`), else undefined. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/** A problem that the person at the keyboard can mend: printed as a sentence, without a stack. */
export class UserError extends Error {
  override readonly name = "UserError";
}
