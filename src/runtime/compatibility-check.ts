import { configText } from "#core/capnp-text.ts";

export type CompatibilitySettings = { compatibilityDate: string; compatibilityFlags: readonly string[] };

/**
 * A version's date and flags, tried on an empty Worker. To be run as `workerd serve` *without* `--experimental`: versions run
 * with it, so only here workerd says which flags a user must not have. Without a socket workerd ends by itself (in about
 * 30 ms): with 0 when all is well, else with 1 and reasons on standard error for `compatibilityProblem`. The answer depends on
 * the settings and the day, so it can be remembered.
 */
export function compatibilityTrial(settings: CompatibilitySettings): { text: string } | { problem: string } {
  const python = settings.compatibilityFlags.find((flag) => flag.startsWith("python_"));
  // workerd would try to download Pyodide.
  if (python !== undefined)
    return { problem: `The compatibility flag ${python} is not supported: Python Workers do not run here.` };
  const text = configText({
    services: [
      { name: "internet", network: { allow: [] } },
      {
        name: "user",
        worker: { modules: [{ name: "worker.js", esModule: "export default {}" }], ...settings },
      },
    ],
  });
  return { text };
}

/** Why workerd refused the settings of a trial, in its words; undefined when it wrote no reason. */
export function compatibilityProblem(stderr: string): string | undefined {
  const reasons = stderr.split("\n").flatMap((line) => {
    const reason = line.replace(/^service user: /, "").trim();
    const experimental = /^The compatibility flag (\S+) is experimental/.exec(reason);
    if (experimental) return [`The compatibility flag ${experimental[1]} is experimental and cannot be used.`];
    return wanted.test(reason) ? [reason] : [];
  });
  return reasons.length > 0 ? [...new Set(reasons)].join("\n") : undefined;
}

const wanted =
  /^(No such compatibility flag|Compatibility flags are mutually contradictory|Invalid compatibility date|Can't set compatibility date in the future|This Worker requires compatibility date|Compatibility flag)/;
