import type { WireRequest } from "#http/wire/server.ts";
import { bucketName, jurisdictions, type Jurisdiction } from "#products/r2/schema.ts";
import { s3Errors } from "#products/r2/s3/s3-errors.ts";

/** A request of the S3 API, taken apart but not believed yet. */
export class S3Request {
  readonly wire: WireRequest;
  readonly method: string;
  /** The path as it was sent. */
  readonly path: string;
  /** Name and value of each query parameter, decoded once; a plus sign is a plus sign. */
  readonly query: readonly (readonly [string, string])[];
  readonly jurisdiction: Jurisdiction;
  /** Undefined for calls about the account. */
  readonly bucket: string | undefined;
  /** Undefined for calls about a bucket. */
  readonly key: string | undefined;
  /** Whether it is signed by its query. */
  readonly presigned: boolean;

  /** `subhost`: what stands before the endpoint's own name in the host, without the dot between them. */
  constructor(wire: WireRequest, subhost: string) {
    this.wire = wire;
    this.method = wire.method;
    const mark = wire.target.indexOf("?");
    this.path = mark < 0 ? wire.target : wire.target.slice(0, mark);
    this.query = parseQuery(mark < 0 ? "" : wire.target.slice(mark + 1));
    this.presigned = this.param("X-Amz-Credential") !== undefined;
    const labels = subhost === "" ? [] : subhost.split(".");
    const jurisdiction = jurisdictions.find((name) => name === labels.at(-1));
    if (jurisdiction) labels.pop();
    this.jurisdiction = jurisdiction ?? "default";
    if (labels.length > 1) throw s3Errors.noRoute();
    const path = decode(this.path).slice(1);
    const [bucket] = labels;
    if (bucket !== undefined) {
      this.bucket = bucket;
      this.key = path === "" ? undefined : path;
    } else {
      const slash = path.indexOf("/");
      this.bucket = (slash < 0 ? path : path.slice(0, slash)) || undefined;
      this.key = (slash < 0 ? "" : path.slice(slash + 1)) || undefined;
    }
    if (this.key !== undefined && !this.key.isWellFormed()) throw s3Errors.invalidArgument("key");
  }

  /** The bucket's name; one that no bucket can have is as good as unknown. */
  get bucketName(): string {
    return this.bucket !== undefined && bucketName.test(this.bucket) ? this.bucket : "";
  }

  param(name: string): string | undefined {
    return this.query.find(([there]) => there === name)?.[1];
  }

  has(name: string): boolean {
    return this.query.some(([there]) => there === name);
  }

  /** A header as text. */
  header(name: string): string | undefined {
    const value = this.wire.headerUtf8(name);
    // Bytes that are not UTF-8 are read as what they most likely are.
    return value?.includes("\ufffd") ? this.wire.header(name) : value;
  }

  /** A header of S3's own, which a presigned address can carry in its query instead. */
  amz(name: string): string | undefined {
    const value = this.header(name);
    if (value !== undefined || !this.presigned) return value;
    return this.query.find(([there]) => there.toLowerCase() === name)?.[1];
  }

  /** `x-amz-meta-…`, of headers and, when presigned, of the query. */
  metadata(): Record<string, string> {
    const prefix = "x-amz-meta-";
    const found: Record<string, string> = {};
    if (this.presigned) {
      for (const [name, value] of this.query)
        if (name.toLowerCase().startsWith(prefix)) found[name.toLowerCase().slice(prefix.length)] = value;
    }
    const { fields } = this.wire;
    for (let at = 0; at < fields.length; at += 2) {
      const name = fields[at] ?? "";
      if (name.startsWith(prefix)) found[name.slice(prefix.length)] = this.header(name) ?? "";
    }
    return found;
  }
}

function parseQuery(text: string): [string, string][] {
  return text
    .split("&")
    .filter((part) => part !== "")
    .map((part) => {
      const equals = part.indexOf("=");
      return equals < 0 ? [decode(part), ""] : [decode(part.slice(0, equals)), decode(part.slice(equals + 1))];
    });
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw s3Errors.invalidArgument("The URL is not valid percent-encoded UTF-8.");
  }
}
