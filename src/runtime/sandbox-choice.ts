import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { messageOf, UserError } from "#core/errors.ts";
import { findProgram } from "#core/find-program.ts";
import { bwrapFlags, sandboxed, withoutNetwork, withoutPrivileges, type Sandbox } from "#runtime/sandbox.ts";

export type SandboxSetting = "auto" | "bwrap" | "off";

const run = promisify(execFile);

const limits = {
  /** A trial of one kind of sandbox. */
  trialMs: 10_000,
  /** Of what a failed trial said. */
  reasonChars: 200,
};

const summaries = {
  bwrap: "each in a sandbox of its own: no network, no files but its own, no other process, no privilege",
  network: "without a network and without privileges, but they see this machine's files",
  none: "not isolated from this machine: only workerd itself stands between them and your files and network",
};

/**
 * The strongest sandbox that works here, found out by running workerd in it: whether a kernel and its administrator allow one
 * cannot be read anywhere. Throws when `setting` asks for one that does not work.
 */
export async function chooseSandbox(setting: SandboxSetting, workerd: string): Promise<Sandbox> {
  if (setting === "off") return notIsolated("the setting sandbox is off");
  const strong = await tryBwrap(workerd);
  if ("kind" in strong) return strong;
  if (setting === "bwrap")
    throw new UserError(
      `The setting sandbox is bwrap, but Workers cannot be run in it: ${strong.failure}. ${strong.remedy}`,
    );
  const lacking = `bwrap cannot be used: ${strong.failure}. ${strong.remedy}`;
  return (await tryNetwork(workerd, lacking)) ?? notIsolated(lacking);
}

/** What went wrong, and what an administrator can do about it. */
type Failure = { failure: string; remedy: string };

async function tryBwrap(workerd: string): Promise<Sandbox | Failure> {
  const bwrap = findProgram("bwrap");
  if (!bwrap) return { failure: "it is not installed", remedy: "Install the package bubblewrap." };
  const libraries = await librariesOf(workerd);
  let failure = "";
  for (const flags of bwrapFlags) {
    const sandbox: Sandbox = {
      kind: "bwrap",
      bwrap,
      flags,
      libraries,
      report: { kind: "bwrap", summary: summaries.bwrap },
    };
    const { command, args } = sandboxed(sandbox, { command: workerd, args: ["--version"] }, emptyView);
    const failed = await tryRun(command, args);
    if (failed === undefined) return sandbox;
    failure ||= failed;
  }
  return { failure, remedy: "Allow unprivileged user namespaces for it, or run Solum where they are allowed." };
}

const emptyView = { readOnly: [], writable: [] };

async function tryNetwork(workerd: string, lacking: string): Promise<Sandbox | undefined> {
  const [unshare, setpriv] = [findProgram("unshare"), findProgram("setpriv")];
  if (!unshare || !setpriv) return undefined;
  const before = withoutNetwork(unshare, setpriv, isRoot());
  const sandbox: Sandbox = {
    kind: "network",
    before,
    report: { kind: "network", summary: summaries.network, lacking },
  };
  const { command, args } = sandboxed(sandbox, { command: workerd, args: ["--version"] }, emptyView);
  return (await tryRun(command, args)) === undefined ? sandbox : undefined;
}

function notIsolated(lacking: string): Sandbox {
  const setpriv = findProgram("setpriv");
  const before = setpriv ? withoutPrivileges(setpriv, isRoot()) : [];
  return { kind: "none", before, report: { kind: "none", summary: summaries.none, lacking } };
}

/** Undefined when it ran to a good end, else what it said. */
async function tryRun(command: string, args: readonly string[]): Promise<string | undefined> {
  try {
    await run(command, args, { timeout: limits.trialMs, env: {}, cwd: "/" });
    return undefined;
  } catch (error) {
    const stderr = (error as { stderr?: string }).stderr?.trim() ?? "";
    const last = stderr
      .split("\n")
      .at(-1)
      ?.replace(/^bwrap: /, "");
    return (last || messageOf(error)).slice(0, limits.reasonChars);
  }
}

/** Libraries that a program is linked with, as the loader itself finds them (`man 8 ld.so`; what `ldd` does). */
async function librariesOf(program: string): Promise<string[]> {
  const { stdout } = await run(program, ["--version"], { env: { LD_TRACE_LOADED_OBJECTS: "1" }, cwd: "/" });
  return [...new Set([...stdout.matchAll(/(\/\S+) \(0x/g)].flatMap(([, path]) => path ?? []))];
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}
