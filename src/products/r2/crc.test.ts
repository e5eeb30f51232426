import { randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";
import { expect, test } from "vitest";
import { combineCrcs, createCrc } from "#products/r2/crc.ts";
import { crcAlgorithms, type CrcAlgorithm } from "#products/r2/schema.ts";

const crcOf = (algorithm: CrcAlgorithm, ...pieces: Uint8Array[]) => {
  const crc = createCrc(algorithm);
  for (const piece of pieces) crc.update(piece);
  return crc.digest();
};

/** The catalogue of parametrised CRC algorithms (reveng.sourceforge.io) gives each one's value of these nine bytes. */
test.each([
  ["crc32", "cbf43926"],
  ["crc32c", "e3069283"],
  ["crc64nvme", "ae8b14860a799888"],
] as const)("%s of the check string", (algorithm, check) => {
  expect(crcOf(algorithm, Buffer.from("123456789"))).toBe(check);
});

test.each(crcAlgorithms)("%s is the same however the bytes are cut, and combines from its parts", (algorithm) => {
  const bytes = randomBytes(10_007);
  const whole = crcOf(algorithm, bytes);
  const parts = [bytes.subarray(0, 4001), bytes.subarray(4001, 8002), bytes.subarray(8002)];
  expect(crcOf(algorithm, ...parts)).toBe(whole);
  expect(
    combineCrcs(
      algorithm,
      parts.map((part) => ({ crc: crcOf(algorithm, part), size: part.length })),
    ),
  ).toBe(whole);
});

test("crc32 is zlib's", () => {
  const bytes = randomBytes(1000);
  expect(Number.parseInt(crcOf("crc32", bytes), 16)).toBe(crc32(bytes));
});
