import { randomBytes, randomUUID } from "node:crypto";

/** 32 hex digits: accounts, Workers, KV namespaces, queues. */
export function newHexId(): string {
  return randomBytes(16).toString("hex");
}

/** Versions, deployments, D1 databases. */
export function newUuid(): string {
  return randomUUID();
}

let lastMs = 0;
let countInMs = 0;

/** UUID version 7: ids that sort as they were made, those of one millisecond by a counter (RFC 9562 §6.2, method 1). */
export function newTimeUuid(): string {
  const now = Date.now();
  // A clock that went back, or more than the counter holds: the time of the last one goes on.
  countInMs = now > lastMs ? 0 : countInMs + 1;
  lastMs = Math.max(now, lastMs) + (countInMs > 0xfff ? 1 : 0);
  countInMs &= 0xfff;
  const time = lastMs.toString(16).padStart(12, "0");
  // Its variant bits are where these want theirs, and Node keeps random bytes ready for it.
  return `${time.slice(0, 8)}-${time.slice(8)}-7${countInMs.toString(16).padStart(3, "0")}${randomUUID().slice(18)}`;
}

const hexId = /^[0-9a-f]{32}$/;
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export function isHexId(text: string): boolean {
  return hexId.test(text);
}

export function isUuid(text: string): boolean {
  return uuid.test(text);
}
