import type { ChildSpec } from "#runtime/child.ts";

/**
 * What keeps Workers' processes away from this machine and from each other; `sandbox-choice.ts` finds out which is possible.
 * - `bwrap`: a file system of what `View` names, and no network, process, user or capability of this machine.
 * - `network`: no network, no capability and no way to gain one; the file system is seen.
 * - `none`: no way to gain a privilege, where `setpriv` is there.
 */
export type Sandbox = { report: SandboxReport } & (
  | { kind: "bwrap"; bwrap: string; flags: readonly string[]; libraries: readonly string[] }
  | { kind: "network" | "none"; before: readonly string[] }
);

/** What `solum status` says. `lacking`: what is missing and why, in words; undefined when nothing is. */
export type SandboxReport = { kind: Sandbox["kind"]; summary: string; lacking?: string };

/** What a process may see of the file system, at the same paths as outside. */
export type View = { readOnly: readonly string[]; writable: readonly string[] };

/** Devices that workerd opens when it starts. */
const devices = ["/dev/null", "/dev/urandom"];

/**
 * The command that runs `program` in `sandbox`. Secrets come by the environment, which everything here hands on; nothing of
 * them is in an argument.
 */
export function sandboxed(
  sandbox: Sandbox,
  program: { command: string; args: readonly string[] },
  view: View,
): Pick<ChildSpec, "command" | "args" | "reportsPid"> {
  if (sandbox.kind !== "bwrap") {
    const [command = program.command, ...args] = [...sandbox.before, program.command, ...program.args];
    return { command, args };
  }
  const readOnly = [...sandbox.libraries, program.command, ...view.readOnly];
  return {
    command: sandbox.bwrap,
    args: [
      ...sandbox.flags,
      "--proc",
      "/proc",
      ...devices.flatMap((path) => ["--dev-bind", path, path]),
      ...readOnly.flatMap((path) => ["--ro-bind", path, path]),
      ...view.writable.flatMap((path) => ["--bind", path, path]),
      "--remount-ro",
      "/",
      "--chdir",
      "/",
      "--",
      program.command,
      ...program.args,
    ],
    reportsPid: ["--info-fd", "3"],
  };
}

/**
 * Flags of bwrap, the strictest first. The program is process 1 of its own table, so that a signal reaches it rather than an
 * init; `--die-with-parent` is not among them, since Workers outlive the supervisor.
 */
export const bwrapFlags: readonly (readonly string[])[] = [
  // Without further user namespaces a process cannot make itself root over anything, which is where kernels have their holes.
  ["--unshare-user", "--disable-userns"],
  [],
].map((more) => [...more, "--unshare-all", "--cap-drop", "ALL", "--new-session", "--as-pid-1"]);

/** Puts a process into namespaces without a network; the pid stays. `asRoot`: no user namespace is needed. */
export function withoutNetwork(unshare: string, setpriv: string, asRoot: boolean): string[] {
  const user = asRoot ? [] : ["--user", "--map-current-user"];
  return [unshare, ...user, "--net", "--ipc", "--uts", ...withoutPrivileges(setpriv, asRoot)];
}

/** Takes away every capability and the ways to gain one: a set-user-id program gives none. */
export function withoutPrivileges(setpriv: string, asRoot: boolean): string[] {
  return [setpriv, "--no-new-privs", ...(asRoot ? ["--bounding-set=-all", "--inh-caps=-all"] : [])];
}
