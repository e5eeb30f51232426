import { execFileSync } from "node:child_process";
import { join } from "node:path";

/** Builds `dist/` before any test: tests start the same program that users do. */
export default function setup(): void {
  const root = join(import.meta.dirname, "..", "..");
  execFileSync(process.execPath, ["--disable-warning=ExperimentalWarning", join(root, "scripts", "build.ts")], {
    stdio: "inherit",
  });
}
