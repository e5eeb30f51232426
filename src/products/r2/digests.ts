import { createHash, hash } from "node:crypto";
import { createCrc } from "#products/r2/crc.ts";
import { r2Errors } from "#products/r2/errors.ts";
import { crcAlgorithms, type Checksums, type CrcAlgorithm, type DigestAlgorithm } from "#products/r2/schema.ts";

const names: Record<DigestAlgorithm, string> = {
  md5: "MD5",
  sha1: "SHA-1",
  sha256: "SHA-256",
  sha384: "SHA-384",
  sha512: "SHA-512",
  crc32: "CRC32",
  crc32c: "CRC32C",
  crc64nvme: "CRC64NVME",
};
const algorithms = Object.keys(names) as DigestAlgorithm[];

/** What is computed of the bytes of a put: always the MD5, which is the entity tag, what is compared, and what is asked for. */
export function digestsToMake(given: Checksums = {}, asked: readonly DigestAlgorithm[] = []): DigestAlgorithm[] {
  return algorithms.filter(
    (algorithm) => algorithm === "md5" || given[algorithm] !== undefined || asked.includes(algorithm),
  );
}

/** Digests of bytes that pass. */
export class Digests {
  readonly #running: { algorithm: DigestAlgorithm; update(bytes: Uint8Array): unknown; digest(): string }[];

  constructor(wanted: readonly DigestAlgorithm[]) {
    this.#running = wanted.map((algorithm) => {
      if (isCrc(algorithm)) {
        const crc = createCrc(algorithm);
        return { algorithm, update: (bytes) => crc.update(bytes), digest: () => crc.digest() };
      }
      const digest = createHash(algorithm);
      return { algorithm, update: (bytes) => digest.update(bytes), digest: () => digest.digest("hex") };
    });
  }

  update(bytes: Uint8Array): void {
    for (const running of this.#running) running.update(bytes);
  }

  finish(): Checksums {
    const found: Checksums = {};
    for (const running of this.#running) found[running.algorithm] = running.digest();
    return found;
  }
}

/** The same for bytes that are all here; one call is cheaper than a stream of one piece. */
export function digestsOf(bytes: Uint8Array, wanted: readonly DigestAlgorithm[]): Checksums {
  const found: Checksums = {};
  for (const algorithm of wanted) {
    if (isCrc(algorithm)) {
      const crc = createCrc(algorithm);
      crc.update(bytes);
      found[algorithm] = crc.digest();
    } else found[algorithm] = hash(algorithm, bytes);
  }
  return found;
}

/** Throws unless every checksum that was given is that of the bytes. */
export function compareDigests(given: Checksums = {}, found: Checksums): void {
  for (const algorithm of algorithms) {
    const [wanted, actual] = [given[algorithm], found[algorithm]];
    if (wanted !== undefined && actual !== undefined && wanted !== actual) {
      throw r2Errors.digest(names[algorithm], wanted, actual);
    }
  }
}

function isCrc(algorithm: DigestAlgorithm): algorithm is CrcAlgorithm {
  return crcAlgorithms.some((crc) => crc === algorithm);
}
