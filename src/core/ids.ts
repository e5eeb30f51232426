import { randomBytes, randomUUID } from "node:crypto";

/** 32 hex digits: accounts, Workers, KV namespaces, queues. */
export function newHexId(): string {
  return randomBytes(16).toString("hex");
}

/** Versions, deployments, D1 databases. */
export function newUuid(): string {
  return randomUUID();
}

/** UUID version 7 (RFC 9562 §5.7): ids that sort by the time at which they were made. */
export function newTimeUuid(): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(Date.now(), 0, 6);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x70;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = bytes.toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

const hexId = /^[0-9a-f]{32}$/;
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export function isHexId(text: string): boolean {
  return hexId.test(text);
}

export function isUuid(text: string): boolean {
  return uuid.test(text);
}
