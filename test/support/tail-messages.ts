import { pollUntil } from "#core/deadline.ts";
import type { Followed } from "./start-solum.ts";

/** A message of a tail, as far as tests look into it. */
export type TailMessage = {
  outcome: string;
  event: {
    request?: { url: string; method: string; headers: Record<string, string>; cf: Record<string, unknown> };
    response?: { status: number };
    rpcMethod?: string;
  } | null;
  logs: { level: string; message: unknown[]; timestamp: number }[];
  exceptions: { name: string; message: string; stack?: string; timestamp: number }[];
  eventTimestamp: number;
  scriptVersion: { id: string };
} & Record<string, unknown>;

/** What `--format json` printed: objects over several lines. */
export function messagesOf(followed: Followed): TailMessage[] {
  const objects = followed.output().matchAll(/^\{\n[\s\S]*?^\}$/gm);
  return [...objects].map(([text]) => JSON.parse(text) as TailMessage);
}

/** Path and query of the request that a message is about. */
export const pathOf = ({ event }: TailMessage) => {
  const url = event?.request && new URL(event.request.url);
  return url && `${url.pathname}${url.search}`;
};

/** Waits for what a command or a process does in its own time. */
export async function until<T>(what: string, ready: () => Promise<T | undefined> | T | undefined): Promise<T> {
  return pollUntil({ ms: 30_000, everyMs: 50, what }, ready);
}
