import { randomBytes, randomUUID } from "node:crypto";

/** 32 hex digits: accounts, Workers, KV namespaces, queues. */
export function newHexId(): string {
  return randomBytes(16).toString("hex");
}

/** Versions, deployments, D1 databases. */
export function newUuid(): string {
  return randomUUID();
}

const hexId = /^[0-9a-f]{32}$/;
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export function isHexId(text: string): boolean {
  return hexId.test(text);
}

export function isUuid(text: string): boolean {
  return uuid.test(text);
}
