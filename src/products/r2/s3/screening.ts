import { s3Errors } from "#products/r2/s3/s3-errors.ts";
import type { S3Request } from "#products/r2/s3/s3-request.ts";

/** Headers of S3 that R2 does not have: to obey is impossible and to ignore would be a lie, so they are refused (501). */
const owner = ["x-amz-expected-bucket-owner"];
const bypass = ["x-amz-mfa", "x-amz-bypass-governance-retention"];
const writes = [
  ...owner,
  "x-amz-tagging",
  "x-amz-grant-full-control",
  "x-amz-grant-read",
  "x-amz-grant-read-acp",
  "x-amz-grant-write",
  "x-amz-grant-write-acp",
  "x-amz-website-redirect-location",
  "x-amz-object-lock-mode",
  "x-amz-object-lock-retain-until-date",
  "x-amz-object-lock-legal-hold",
  "x-amz-server-side-encryption-aws-kms-key-id",
  "x-amz-server-side-encryption-context",
  "x-amz-server-side-encryption-bucket-key-enabled",
];
const copies = ["x-amz-source-expected-bucket-owner", "x-amz-tagging-directive"];
const cannedAcls = new Set([
  "private",
  "public-read",
  "public-read-write",
  "authenticated-read",
  "aws-exec-read",
  "bucket-owner-read",
  "bucket-owner-full-control",
]);

export type Screen = "read" | "write" | "copy" | "delete" | "part";

const refused: Record<Screen, readonly string[]> = {
  read: owner,
  write: writes,
  copy: [...writes, ...copies],
  delete: [...owner, ...bypass],
  part: [...owner, "x-amz-server-side-encryption", "x-amz-source-expected-bucket-owner"],
};

export function screenHeaders(request: S3Request, screen: Screen): void {
  if (request.amz("x-amz-security-token") !== undefined) throw s3Errors.invalidArgument("X-Amz-Security-Token");
  for (const name of refused[screen]) {
    const value = request.amz(name);
    if (value !== undefined) throw s3Errors.header(name, value);
  }
  if (screen !== "write" && screen !== "copy") return;
  const encryption = request.amz("x-amz-server-side-encryption");
  if (encryption !== undefined && encryption !== "AES256")
    throw s3Errors.header("x-amz-server-side-encryption", encryption);
  const acl = request.amz("x-amz-acl");
  if (acl !== undefined && !cannedAcls.has(acl)) throw s3Errors.header("x-amz-acl", acl);
}

/** Parameters of every signed request. */
export function isCommonParam(name: string): boolean {
  return name.toLowerCase().startsWith("x-amz-") || name === "x-id";
}
