import { limits } from "#products/workflows/limits.ts";

/** Bytes of a value as JSON; 0 for what JSON cannot say, which the engine looks at. */
export function sizeOf(value: unknown): number {
  try {
    const text = JSON.stringify(value) ?? "";
    return text.length > limits.valueBytes ? text.length : new TextEncoder().encode(text).length;
  } catch {
    return 0;
  }
}

/** In the engine's manner. */
export function workflowError(code: string, message: string): Error {
  return Object.assign(new Error(`(${code}) ${message}`), { name: "WorkflowError" });
}

export function unless(expected: RegExp): (error: unknown) => undefined {
  return (error) => {
    if (!(error instanceof Error) || !expected.test(error.message)) throw error;
    return undefined;
  };
}

export function found<T>(value: T | undefined): T {
  if (value === undefined) throw workflowError("instance.not_found", "Instance does not exist");
  return value;
}
