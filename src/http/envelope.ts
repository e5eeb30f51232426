import type { ErrorEntry } from "#core/errors.ts";

/** Pagination as clients read it; each of wrangler's loops uses other members (wrangler-api §1.3). */
export type ResultInfo = {
  page?: number;
  per_page?: number;
  count?: number;
  total_count?: number;
  total_pages?: number;
  /** Empty on the last page. */
  cursor?: string;
  /** The same for lists that the official SDK reads by `cursors.after`. */
  cursors?: { after: string };
  /** R2's list of objects: whether the cursor leads to more, and the prefixes that stand for folded keys. */
  is_truncated?: boolean;
  delimited?: string[];
};

/** Every JSON answer of the API, https://developers.cloudflare.com/api/. */
export type Envelope<T> = {
  success: boolean;
  errors: ErrorEntry[];
  messages: { code: number; message: string }[];
  result: T;
  result_info?: ResultInfo;
};

export function success<T>(result: T, info?: ResultInfo): Envelope<T> {
  const envelope = { success: true, errors: [], messages: [], result };
  return info ? { ...envelope, result_info: info } : envelope;
}

export function failure(errors: readonly ErrorEntry[]): Envelope<null> {
  return { success: false, errors: [...errors], messages: [], result: null };
}

/** One page of `all`, and the `result_info` that goes with it. Pages past the end are empty, which ends the SDK's loop. */
export function paginate<T>(
  all: readonly T[],
  { page, perPage }: { page: number; perPage: number },
): { items: T[]; info: ResultInfo } {
  const items = all.slice((page - 1) * perPage, page * perPage);
  return { items, info: pageInfo({ page, perPage, count: items.length, total: all.length }) };
}

/** `result_info` of a page that was cut elsewhere. */
export function pageInfo(of: { page: number; perPage: number; count: number; total: number }): ResultInfo {
  const { page, perPage, count, total } = of;
  return { page, per_page: perPage, count, total_count: total, total_pages: Math.ceil(total / perPage) };
}
