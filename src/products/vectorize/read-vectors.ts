import { vectorErrors } from "#products/vectorize/errors.ts";
import { limits, vectorLine, type NewVector } from "#products/vectorize/schema.ts";

/** Vectors of an insert, a JSON value a line (https://github.com/ndjson/ndjson-spec), checked against their index. */
export function readVectors(text: string, { dimensions, max }: { dimensions: number; max: number }): NewVector[] {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  if (lines.length > max) throw vectorErrors.tooMany(max);
  if (lines.length === 0) throw vectorErrors.badVector(1, "there is none");
  return lines.map((line, index) => readVector(line, index + 1, dimensions));
}

function readVector(line: string, number: number, dimensions: number): NewVector {
  const parsed = vectorLine.safeParse(parseJson(line, number));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw vectorErrors.badVector(number, `${issue?.path.join(".") ?? ""}: ${issue?.message ?? "not a vector"}`);
  }
  const { id, values, namespace, metadata } = parsed.data;
  const idBytes = Buffer.byteLength(id);
  if (idBytes === 0) throw vectorErrors.badVector(number, "an id is not empty");
  if (idBytes > limits.idBytes) throw vectorErrors.idTooLong(idBytes);
  if (values.length !== dimensions) throw vectorErrors.vectorDimensions(id, dimensions, values.length);
  if (Buffer.byteLength(namespace ?? "") > limits.namespaceBytes)
    throw vectorErrors.badVector(number, `a namespace has at most ${limits.namespaceBytes} bytes`);
  const json = metadata == null ? null : JSON.stringify(metadata);
  if (json !== null && Buffer.byteLength(json) > limits.metadataBytes)
    throw vectorErrors.badVector(number, `metadata has at most ${limits.metadataBytes} bytes`);
  const floats = Float32Array.from(values);
  if (!floats.every(Number.isFinite)) throw vectorErrors.badVector(number, "values are finite 32-bit floats");
  return { id, namespace: namespace ?? "", metadata: json, values: new Uint8Array(floats.buffer) };
}

function parseJson(line: string, number: number): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw vectorErrors.badVector(number, "it is not JSON");
  }
}
