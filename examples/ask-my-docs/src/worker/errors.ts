import type { Context } from "hono";
import { HTTPException } from "hono/http-exception";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { ErrorBody } from "../shared/api.ts";

/** Something that the caller can understand and act on. Everything else that is thrown is a fault of ours. */
class ApiError extends Error {
  readonly status: ContentfulStatusCode;
  readonly code: string;
  readonly field: string | undefined;

  constructor(status: ContentfulStatusCode, code: string, message: string, field?: string) {
    super(message);
    this.status = status;
    this.code = code;
    this.field = field;
  }
}

export const errors = {
  invalid: (field: string, message: string) => new ApiError(400, "invalid", message, field),
  badRequest: (message: string) => new ApiError(400, "bad_request", message),
  signedOut: () => new ApiError(401, "signed_out", "Please sign in."),
  wrongPassword: () => new ApiError(401, "wrong_password", "This email and password do not belong together."),
  signUpClosed: () => new ApiError(403, "sign_up_closed", "New accounts are not open at the moment."),
  notFound: (message: string) => new ApiError(404, "not_found", message),
  emailTaken: () => new ApiError(409, "email_taken", "There is an account with this email already.", "email"),
  noteChanged: () => new ApiError(409, "note_changed", "This note was changed in another window."),
  notReadYet: () => new ApiError(409, "not_read_yet", "This document is still being read. Please ask in a moment."),
  full: (message: string) => new ApiError(409, "full", message),
  lengthRequired: () => new ApiError(411, "length_required", "A request has to say how long it is."),
  tooLarge: (message: string) => new ApiError(413, "too_large", message),
  notText: () => new ApiError(415, "not_text", "Only documents of text can be asked."),
  rangeNotSatisfiable: () => new ApiError(416, "range_not_satisfiable", "The file has no such part."),
  tooManyQuestions: () => new ApiError(429, "too_many_questions", "These are enough questions for one day."),
  modelsBusy: () => new ApiError(503, "models_busy", "Nobody can answer at the moment. Please try again later."),
  tooManyAttempts: () => new ApiError(429, "too_many_attempts", "Too many attempts. Please wait a quarter of an hour."),
};

/** Every error leaves as the same small JSON object. */
export function answerError(error: Error, c: Context): Response {
  if (error instanceof ApiError) {
    const { status, code, message, field } = error;
    return c.json<ErrorBody>({ error: { code, message, field } }, status);
  }
  if (error instanceof HTTPException) {
    const message = error.message || "This request did not come from a page of this site.";
    return c.json<ErrorBody>({ error: { code: "refused", message } }, error.status);
  }
  console.error(error);
  const message = "Something went wrong on our side. Please try again.";
  return c.json<ErrorBody>({ error: { code: "internal", message } }, 500);
}
