import { createHash, type Hash } from "node:crypto";
import { limits, type Checksums, type DigestAlgorithm } from "#products/r2/schema.ts";
import { r2Errors } from "#products/r2/errors.ts";
import { compareDigests, digestsOf } from "#products/r2/digests.ts";
import { s3Errors } from "#products/r2/s3/s3-errors.ts";
import type { S3Request } from "#products/r2/s3/s3-request.ts";
import { chunkSignature, sameText, sha256, type SignatureChain, type Verified } from "#products/r2/s3/signature.ts";
import type { BodyHooks } from "#products/r2/local-parts.ts";
import type { Bytes } from "#products/r2/store.ts";

/** The bytes of an object on their way in, with all that must be true of them in the end. */
export type Payload = {
  body: Bytes;
  length: number;
  checksums: Checksums;
  digests: DigestAlgorithm[];
  hooks: BodyHooks;
};

/** The S3 API's checksums and the headers they come in. */
export const s3Checksums = {
  crc32: { header: "x-amz-checksum-crc32", element: "ChecksumCRC32", name: "CRC32", bytes: 4 },
  crc32c: { header: "x-amz-checksum-crc32c", element: "ChecksumCRC32C", name: "CRC32C", bytes: 4 },
  crc64nvme: { header: "x-amz-checksum-crc64nvme", element: "ChecksumCRC64NVME", name: "CRC64NVME", bytes: 8 },
  sha1: { header: "x-amz-checksum-sha1", element: "ChecksumSHA1", name: "SHA1", bytes: 20 },
  sha256: { header: "x-amz-checksum-sha256", element: "ChecksumSHA256", name: "SHA256", bytes: 32 },
} as const;
export type S3Algorithm = keyof typeof s3Checksums;
export const s3Algorithms = Object.keys(s3Checksums) as S3Algorithm[];

const unsigned = "UNSIGNED-PAYLOAD";
const streaming = {
  "STREAMING-UNSIGNED-PAYLOAD-TRAILER": { signed: false, trailer: true },
  "STREAMING-AWS4-HMAC-SHA256-PAYLOAD": { signed: true, trailer: false },
  "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": { signed: true, trailer: true },
} as const;
const hexHash = /^[0-9a-f]{64}$/;

/** Bytes of the XML that a call may bring: 10,000 parts with checksums, or 1,000 keys of which every byte is escaped. */
const xmlBytes = 8 * 1024 * 1024;

export async function openPayload(request: S3Request, verified: Verified): Promise<Payload> {
  const { wire } = request;
  const checksums = givenChecksums(request);
  const digests = askedDigests(request);
  const { payloadHash } = verified;
  const mode = Object.hasOwn(streaming, payloadHash) ? streaming[payloadHash as keyof typeof streaming] : undefined;
  if (mode) return openChunks(request, verified.chain, mode, { checksums, digests });
  if (wire.contentLength === undefined) throw s3Errors.noLength();
  const length = wire.contentLength;
  if (length > limits.uploadBytes) throw r2Errors.tooLarge();
  const hooks = hooksFor(payloadHash);
  const body = length <= limits.inlineBytes ? await wire.bytes(limits.inlineBytes) : wire.stream();
  return { body, length, checksums, digests, hooks };
}

/** The whole body of a call that brings XML, when it is what was signed. */
export async function readXmlBody(
  request: S3Request,
  { payloadHash }: Verified,
  { checksums = true }: { checksums?: boolean } = {},
): Promise<string> {
  const { wire } = request;
  if (Object.hasOwn(streaming, payloadHash)) throw s3Errors.header("x-amz-content-sha256", payloadHash);
  if ((wire.contentLength ?? 0) > xmlBytes) throw s3Errors.malformedXml();
  const bytes = await wire.bytes(xmlBytes);
  if (checksums) {
    const given = givenChecksums(request);
    compareDigests(given, digestsOf(bytes, Object.keys(given) as DigestAlgorithm[]));
  }
  if (payloadHash !== unsigned) {
    if (!hexHash.test(payloadHash)) throw s3Errors.header("x-amz-content-sha256", payloadHash);
    if (createHash("sha256").update(bytes).digest("hex") !== payloadHash) throw s3Errors.payloadHash();
  }
  return bytes.toString("utf8");
}

function hooksFor(payloadHash: string): BodyHooks {
  if (payloadHash === unsigned) return {};
  if (!hexHash.test(payloadHash)) throw s3Errors.header("x-amz-content-sha256", payloadHash);
  return {
    checkedOnly: ["sha256"],
    check: ({ sha256: found }) => {
      if (found !== payloadHash) throw s3Errors.payloadHash();
    },
  };
}

/** Checksums in headers, and the MD5 of `Content-MD5`. */
export function givenChecksums(request: S3Request): Checksums {
  const given: Checksums = {};
  for (const algorithm of s3Algorithms) {
    const { header } = s3Checksums[algorithm];
    const value = request.amz(header);
    // What presigners of 2025 put into addresses of puts: the checksum of the body that they did not have.
    const ofNothing = value === "AAAAAA==" && request.header(header) === undefined;
    if (value !== undefined && !ofNothing) given[algorithm] = checksumOf(algorithm, value);
  }
  const md5 = request.header("content-md5");
  if (md5 !== undefined) {
    const bytes = Buffer.from(md5, "base64");
    if (bytes.length !== 16) throw s3Errors.invalidDigest();
    given.md5 = bytes.toString("hex");
  }
  return given;
}

/** A checksum of the API in hexadecimal. */
export function checksumOf(algorithm: S3Algorithm, base64: string): string {
  const { header, bytes } = s3Checksums[algorithm];
  const value = Buffer.from(base64, "base64");
  if (value.length !== bytes) throw s3Errors.invalidRequest(`Value for ${header} header is invalid.`);
  return value.toString("hex");
}

/** The algorithm that a request names; undefined when it names none. */
export function algorithmOf(name: string | undefined): S3Algorithm | undefined {
  if (name === undefined) return undefined;
  const algorithm = s3Algorithms.find((one) => s3Checksums[one].name === name.toUpperCase());
  if (!algorithm)
    throw s3Errors.invalidRequest(
      "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
    );
  return algorithm;
}

function askedDigests(request: S3Request): DigestAlgorithm[] {
  const algorithm = algorithmOf(request.header("x-amz-sdk-checksum-algorithm"));
  return algorithm ? [algorithm] : [];
}

/** A body in `aws-chunked` encoding: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html. */
function openChunks(
  request: S3Request,
  chain: SignatureChain,
  mode: { signed: boolean; trailer: boolean },
  given: { checksums: Checksums; digests: DigestAlgorithm[] },
): Payload {
  const { wire } = request;
  const decoded = request.header("x-amz-decoded-content-length");
  if (decoded === undefined || !/^\d{1,15}$/.test(decoded)) throw s3Errors.noLength();
  const length = Number(decoded);
  if (length > limits.uploadBytes) throw r2Errors.tooLarge();
  const names = (request.header("x-amz-trailer") ?? "").toLowerCase().split(",");
  const announced = new Set(names.map((name) => name.trim()));
  const wanted = s3Algorithms.filter((algorithm) => announced.has(s3Checksums[algorithm].header));
  const trailers = new Map<string, string>();
  const body = decodeChunks(wire.stream(), { length, chain: mode.signed ? chain : undefined, trailers });
  const check = (found: Checksums) => {
    for (const algorithm of wanted) {
      const value = trailers.get(s3Checksums[algorithm].header);
      if (value === undefined) throw s3Errors.trailer();
      compareDigests({ [algorithm]: checksumOf(algorithm, value) }, found);
    }
  };
  return { body, length, checksums: given.checksums, digests: [...given.digests, ...wanted], hooks: { check } };
}

/** Bytes of one line between chunks: a size and a signature, or a trailer. */
const lineBytes = 1024;
const trailersMax = 16;
/** What a client may announce as one chunk; S3 has no limit but the object's. */
const chunkLine = /^([0-9a-f]{1,9})(?:;chunk-signature=([0-9a-f]{64}))?\r\n$/i;
const trailerLine = /^([!-9;-~]+):(.*?)\r\n$/;

type ChunkOptions = { length: number; chain: SignatureChain | undefined; trailers: Map<string, string> };

async function* decodeChunks(source: AsyncIterable<Buffer>, options: ChunkOptions): AsyncGenerator<Buffer, void> {
  const chunks = new ChunkReader(options);
  for await (const piece of source) {
    for (let at = 0; at < piece.length;) {
      const content = chunks.take(piece, at);
      if (content) yield content;
      at = chunks.position;
    }
  }
  chunks.finish();
}

class ChunkReader {
  /** Where in the piece that was given last the next bytes begin. */
  position = 0;
  readonly #options: ChunkOptions;
  #state: "size" | "content" | "content-end" | "trailers" | "done" = "size";
  #line = "";
  #left = 0;
  #received = 0;
  #hash: Hash | undefined;
  #signature = "";

  constructor(options: ChunkOptions) {
    this.#options = options;
  }

  /** Content at `from` of `piece`, as much as there is at once; undefined when something else was there. */
  take(piece: Buffer, from: number): Buffer | undefined {
    if (this.#state === "content") {
      const content = piece.subarray(from, from + this.#left);
      this.#left -= content.length;
      this.#received += content.length;
      this.#hash?.update(content);
      if (this.#left === 0) this.#state = "content-end";
      this.position = from + content.length;
      return content;
    }
    const end = piece.indexOf(10, from);
    this.position = end < 0 ? piece.length : end + 1;
    this.#line += piece.toString("latin1", from, this.position);
    if (this.#line.length > lineBytes) throw s3Errors.chunks("A line between chunks is too long.");
    if (end >= 0) {
      const line = this.#line;
      this.#line = "";
      this.#read(line);
    }
    return undefined;
  }

  finish(): void {
    // A last empty line is what some clients leave out.
    if (this.#state === "trailers" && this.#line === "") this.#endTrailers();
    if (this.#line !== "") throw s3Errors.chunks("There is something behind the last chunk.");
    if (this.#state !== "done" || this.#received !== this.#options.length) throw s3Errors.incompleteBody();
  }

  #read(line: string): void {
    switch (this.#state) {
      case "size":
        return this.#begin(line);
      case "content-end":
        if (line !== "\r\n") throw s3Errors.chunks("A chunk does not end where it should.");
        this.#checkSignature();
        this.#state = "size";
        return;
      case "trailers": {
        if (line === "\r\n") return this.#endTrailers();
        const [, name, value] = trailerLine.exec(line) ?? [];
        if (name === undefined || value === undefined || this.#options.trailers.size >= trailersMax)
          throw s3Errors.trailer();
        this.#options.trailers.set(name.toLowerCase(), value.trim());
        return;
      }
      case "content":
      case "done":
        throw s3Errors.chunks("There is something behind the last chunk.");
    }
  }

  #begin(line: string): void {
    const [, size, signature] = chunkLine.exec(line) ?? [];
    if (size === undefined) throw s3Errors.chunks("A chunk's size cannot be read.");
    const { chain, length } = this.#options;
    if (chain && signature === undefined) throw s3Errors.signature();
    this.#signature = (signature ?? "").toLowerCase();
    this.#hash = chain ? createHash("sha256") : undefined;
    this.#left = Number.parseInt(size, 16);
    if (this.#received + this.#left > length) throw s3Errors.incompleteBody();
    if (this.#left > 0) this.#state = "content";
    else {
      this.#checkSignature();
      this.#state = "trailers";
    }
  }

  #checkSignature(): void {
    const { chain } = this.#options;
    if (!chain || !this.#hash) return;
    const wanted = chunkSignature(chain, "PAYLOAD", this.#hash.digest("hex"));
    if (!sameText(wanted, this.#signature)) throw s3Errors.signature();
    this.#options.chain = { ...chain, signature: wanted };
  }

  #endTrailers(): void {
    this.#state = "done";
    const { chain, trailers } = this.#options;
    const signature = trailers.get("x-amz-trailer-signature");
    trailers.delete("x-amz-trailer-signature");
    if (!chain || trailers.size === 0) return;
    const text = [...trailers].map(([name, value]) => `${name}:${value}\n`).join("");
    if (!sameText(chunkSignature(chain, "TRAILER", sha256(text)), signature ?? "")) throw s3Errors.signature();
  }
}
