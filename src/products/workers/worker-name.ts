import { workerErrors } from "#products/workers/errors.ts";
import { limits } from "#products/workers/schema.ts";

const shape = /^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?$/;
/** `<8 hex>-<worker>` is the host of a version's preview. */
const previewShape = /^[0-9a-f]{8}-/;

/** Refuses names that cannot be a host of their own below the app domain. */
export function checkWorkerName(name: string, reserved: ReadonlySet<string>): void {
  if (name.length > limits.nameLength)
    throw workerErrors.invalidName(`it is longer than ${limits.nameLength} characters`);
  if (!shape.test(name))
    throw workerErrors.invalidName(
      "it may have lower-case letters, digits, hyphens and underscores, and neither begins nor ends with a hyphen",
    );
  if (reserved.has(name)) throw workerErrors.invalidName(`${name} is the platform's own`);
  if (previewShape.test(name))
    throw workerErrors.invalidName("eight hexadecimal digits and a hyphen begin the address of a version preview");
}
