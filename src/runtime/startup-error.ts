import { mainModule, entryLibrary, probeEntrypoint } from "#runtime/entry-module.ts";

/**
 * What a failed start of a version means to the person who wrote it: the message of error 10021, from what workerd wrote to
 * standard error. It is what workerd says, with the stack, without its notices, our modules and our names.
 */
export function startupErrorMessage(stderr: string): string {
  if (/JavaScript heap out of memory|Fatal JavaScript out of memory/.test(stderr)) {
    return "The Worker used more memory than it may have while it started.";
  }
  const lines = stderr.split("\n").filter((line) => line.trim() !== "" && !isNotice(line));
  const said = lines.map(withoutOurNames).filter((line) => line !== undefined);
  // A script that failed registered no handlers either; by itself that is the error.
  const telling = said.length > 1 ? said.filter((line) => line !== noHandlers) : said;
  return telling.length > 0 ? telling.join("\n") : "The Worker could not be started, and workerd did not say why.";
}

const noHandlers = "No event handlers were registered. This script does nothing.";

/** Lines that also come with good starts, or that follow from the failure. */
function isNotice(line: string): boolean {
  return (
    /became the default as of \d{4}-\d{2}-\d{2}/.test(line) ||
    /^workerd\/.*: (warning|info): /.test(line) ||
    /^(Socket|Worker) ".*" refers to service "/.test(line) ||
    line.includes(`"${probeEntrypoint}"`)
  );
}

/** A line as the user would have had it without us; undefined for one that is about our modules only. */
function withoutOurNames(line: string): string | undefined {
  const ours = [entryLibrary, mainModule].some((name) => line.includes(name));
  if (ours && /^\s+(at|imported from) /.test(line)) return undefined;
  return (
    line
      .replace(/^service [^ :]+: /, "")
      .replaceAll("file:///bundle/", "")
      // A service-worker script has no name of its own in workerd; this is the one that Cloudflare gives it.
      .replace(/^(\s+at )user:(\d)/, "$1worker.js:$2")
  );
}
