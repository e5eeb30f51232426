import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { locationHints } from "#products/r2/schema.ts";
import { s3Errors } from "#products/r2/s3/s3-errors.ts";
import type { S3Request } from "#products/r2/s3/s3-request.ts";
import type { AccessKey } from "#products/r2/settings.ts";
import type { R2Lookups } from "#products/r2/settings-store.ts";

/**
 * Signature Version 4 (https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html), checked in the
 * order and with the texts that R2 has. Comparisons take the same time whatever differs.
 */
const algorithm = "AWS4-HMAC-SHA256";
const terminator = "aws4_request";
/** How far a request's time may be off, the same as S3's. */
const skewMs = 15 * 60 * 1000;
/** A week, https://developers.cloudflare.com/r2/api/s3/presigned-urls/. */
const expiresMaxS = 604_800;
/** https://developers.cloudflare.com/r2/api/s3/api/: `auto`, or what tools insist on. */
const regions: ReadonlySet<string> = new Set(["auto", "us-east-1", "", ...locationHints]);

export type Verified = {
  key: AccessKey;
  /** What the request says of its body: its SHA-256, or how its chunks are signed. */
  payloadHash: string;
  /** To check the signatures of chunks with. */
  chain: SignatureChain;
};

/** Each chunk's signature covers the one before it, the first one the request's. */
export type SignatureChain = { signature: string; signingKey: Buffer; date: string; scope: string };

type Claim = {
  credential: string;
  signedHeaders: string;
  signature: string;
  date: string;
  payloadHash: string;
};

export function verifySignature(request: S3Request, lookups: R2Lookups, now: number): Verified {
  const authorization = request.header("authorization");
  if (authorization !== undefined && request.presigned)
    throw s3Errors.invalidArgument(
      "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified",
    );
  if (authorization === undefined && !request.presigned) throw s3Errors.invalidArgument("Authorization");
  const claim = authorization === undefined ? presignedClaim(request, now) : headerClaim(request, authorization, now);

  const scope = parseCredential(claim);
  const signedHeaders = claim.signedHeaders.toLowerCase().split(";");
  if (!signedHeaders.includes("host")) throw s3Errors.unauthorized();
  const found = lookups.accessKey(scope.accessKeyId);
  if (!found || !isValid(found.key, now)) throw s3Errors.unauthorized();
  const signingKey = deriveSigningKey(found.secret, scope);
  const paths = new Set([encodePath(request.path), request.path]);
  const signed = [...paths].some((path) => {
    const text = stringToSign(claim, scope.text, canonicalRequest(request, path, signedHeaders, claim.payloadHash));
    return sameText(hmacHex(signingKey, text), claim.signature);
  });
  if (!signed) throw s3Errors.signature();
  if (hasUnsigned(request, signedHeaders)) throw s3Errors.unsignedHeaders();
  const { date, payloadHash, signature } = claim;
  return { key: found.key, payloadHash, chain: { signature, signingKey, date, scope: scope.text } };
}

/** The signature of a chunk or of trailers, by the one before it. `what`: `PAYLOAD` with the empty text's hash first, or `TRAILER`. */
export function chunkSignature(chain: SignatureChain, what: "PAYLOAD" | "TRAILER", hash: string): string {
  const lines = [`${algorithm}-${what}`, chain.date, chain.scope, chain.signature];
  if (what === "PAYLOAD") lines.push(sha256(""));
  return hmacHex(chain.signingKey, [...lines, hash].join("\n"));
}

export function sameText(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

function headerClaim(request: S3Request, authorization: string, now: number): Claim {
  const payloadHash = request.header("x-amz-content-sha256");
  if (payloadHash === undefined) throw s3Errors.invalidRequest("Missing x-amz-content-sha256");
  const amzDate = request.header("x-amz-date");
  const date = amzDate ?? request.header("date");
  if (date === undefined) throw s3Errors.invalidArgument("No date provided in x-amz-date nor date header");
  const source = amzDate === undefined ? "'date' header" : "'x-amz-date' header";
  if (Math.abs(now - parseDate(date, source)) > skewMs) throw s3Errors.skewed();
  const fields = new Map<string, string>();
  if (authorization.startsWith(`${algorithm} `)) {
    for (const part of authorization.slice(algorithm.length).split(",")) {
      const equals = part.indexOf("=");
      if (equals > 0) fields.set(part.slice(0, equals).trim(), part.slice(equals + 1).trim());
    }
  }
  const [credential, signedHeaders, signature] = ["Credential", "SignedHeaders", "Signature"].map((name) =>
    fields.get(name),
  );
  if (credential === undefined || signedHeaders === undefined || signature === undefined) throw s3Errors.algorithm();
  return { credential, signedHeaders, signature, date, payloadHash };
}

function presignedClaim(request: S3Request, now: number): Claim {
  const names = ["X-Amz-Algorithm", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Expires"];
  const missing = names.filter((name) => !request.has(name));
  const plural = missing.length > 1 ? "s" : "";
  if (missing.length > 0)
    throw s3Errors.invalidArgument(`Required search parameter${plural} ${missing.join(",  ")} missing`);
  for (const [name] of request.query) {
    // Two values of one parameter could be read one way here and another way elsewhere.
    if (name.startsWith("X-Amz-") && request.query.filter(([other]) => other === name).length > 1)
      throw s3Errors.invalidArgument(`Search parameter ${name} given twice`);
  }
  const param = (name: string) => request.param(name) ?? "";
  if (param("X-Amz-Algorithm") !== algorithm) throw s3Errors.algorithm();
  const date = param("X-Amz-Date");
  const time = parseDate(date, "X-Amz-Date");
  const expires = param("X-Amz-Expires").trim();
  if (!/^-?\d{1,15}$/.test(expires)) throw s3Errors.invalidArgument("X-Amz-Expires should be a number");
  if (Number(expires) > expiresMaxS) {
    throw s3Errors.invalidArgument(
      `X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than ${expiresMaxS} seconds`,
    );
  }
  if (Number(expires) < 1 || now > time + Number(expires) * 1000) throw s3Errors.expired();
  if (time > now + skewMs) throw s3Errors.notYet();
  return {
    credential: param("X-Amz-Credential"),
    signedHeaders: param("X-Amz-SignedHeaders"),
    signature: param("X-Amz-Signature"),
    date,
    payloadHash: request.param("X-Amz-Content-Sha256") ?? request.header("x-amz-content-sha256") ?? "UNSIGNED-PAYLOAD",
  };
}

type Scope = { accessKeyId: string; day: string; region: string; text: string };

function parseCredential({ credential, date }: Claim): Scope {
  const parts = credential.split("/");
  if (parts.length < 5) {
    throw s3Errors.invalidArgument(
      `Credential sigv4 header should have at least 5 slash-separated parts, not ${parts.length}`,
    );
  }
  const [day = "", region = "", service = "", end = ""] = parts.slice(-4);
  if (service !== "s3") throw s3Errors.invalidArgument(`Credential service should be s3, not ${service}`);
  if (end !== terminator)
    throw s3Errors.invalidArgument(`Credential termination string should be ${terminator}, not ${end}`);
  if (!regions.has(region)) throw s3Errors.region(region);
  if (!date.startsWith(day) || day.length !== 8) {
    throw s3Errors.invalidArgument(
      `Credential signed date ${day} does not match ${date.slice(0, 8)} from 'x-amz-date' header`,
    );
  }
  const text = `${day}/${region}/${service}/${terminator}`;
  return { accessKeyId: parts.slice(0, -4).join("/"), day, region, text };
}

function isValid({ status, notBefore, expiresOn }: AccessKey, now: number): boolean {
  if (status !== "active") return false;
  if (notBefore !== undefined && now < Date.parse(notBefore)) return false;
  return expiresOn === undefined || now < Date.parse(expiresOn);
}

const amzDate = /^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z$/;

/** Milliseconds since the epoch. */
function parseDate(text: string, source: string): number {
  const time = Date.parse(text.replace(amzDate, "$1-$2-$3T$4:$5:$6Z"));
  if (!amzDate.test(text) || Number.isNaN(time))
    throw s3Errors.invalidArgument(`Date provided in ${source} (${text}) didn't parse successfully`);
  return time;
}

function canonicalRequest(
  request: S3Request,
  path: string,
  signedHeaders: readonly string[],
  payloadHash: string,
): string {
  const query = request.query
    .filter(([name]) => !(request.presigned && name === "X-Amz-Signature"))
    .map(([name, value]) => [encode(name), encode(value)] as const)
    .toSorted(([a, x], [b, y]) => compare(a, b) || compare(x, y))
    .map(([name, value]) => `${name}=${value}`)
    .join("&");
  const headers = signedHeaders.map((name) => `${name}:${headerText(request, name)}\n`).join("");
  return [request.method, path, query, headers, signedHeaders.join(";"), payloadHash].join("\n");
}

/** All values of a header, each without needless blanks, as their bytes were sent. */
function headerText({ wire: { fields } }: S3Request, name: string): string {
  const values: string[] = [];
  for (let at = 0; at < fields.length; at += 2)
    if (fields[at] === name) values.push((fields[at + 1] ?? "").trim().replaceAll(/ {2,}/g, " "));
  return values.join(",");
}

/** Headers of S3's that would be obeyed and that nobody signed. */
function hasUnsigned({ wire: { fields } }: S3Request, signedHeaders: readonly string[]): boolean {
  const signed = new Set(signedHeaders);
  return fields.some((name, at) => at % 2 === 0 && name.startsWith("x-amz-") && !signed.has(name));
}

function stringToSign({ date }: Claim, scope: string, canonical: string): string {
  const hash = createHash("sha256").update(canonical, "latin1").digest("hex");
  return [algorithm, date, scope, hash].join("\n");
}

const keysRemembered = 1024;
const signingKeys = new Map<string, Buffer>();

/** The key of one day and region. The secret is part of the name it is remembered by, so that a rolled one is another. */
function deriveSigningKey(secret: string, { day, region }: Scope): Buffer {
  const name = `${secret}/${day}/${region}`;
  let key = signingKeys.get(name);
  if (!key) {
    key = [region, "s3", terminator].reduce(hmac, hmac(`AWS4${secret}`, day));
    if (signingKeys.size >= keysRemembered) signingKeys.clear();
    signingKeys.set(name, key);
  }
  return key;
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}

function hmacHex(key: Buffer, text: string): string {
  return createHmac("sha256", key).update(text).digest("hex");
}

export function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** S3's percent-encoding: all but unreserved characters, in upper case. */
export function encode(text: string): string {
  return encodeURIComponent(text).replaceAll(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);
}

function encodePath(path: string): string {
  return path
    .split("/")
    .map((segment) => encode(decodeURIComponent(segment)))
    .join("/");
}

/** By code units, which for the ASCII of encoded texts is by bytes. */
function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
