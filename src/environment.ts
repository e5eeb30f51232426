import { homedir } from "node:os";
import { join } from "node:path";

/** The only reader of the process's environment. */
export function variable(name: string): string | undefined {
  return process.env[name];
}

/** Where data goes when nothing says so. */
export function defaultDataFolder(): string {
  return join(process.env["XDG_DATA_HOME"] || join(homedir(), ".local", "share"), "solum");
}

/** Where the running instance is written down for other commands: the user's state folder. */
export function pointerFile(): string {
  return join(process.env["XDG_STATE_HOME"] || join(homedir(), ".local", "state"), "solum", "instance.json");
}

/** What the supervisor gave this process: never in a file and never in the arguments. */
export function processVariable(name: "SOLUM_CAPABILITY_KEY" | "SOLUM_AI_SEAL_KEY"): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

/** The environment for a child that is not ours to restrict, such as wrangler. */
export function inheritedEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env };
}

/** The environment for Solum's own processes: nothing of the user's but what programs need to start. */
export function childEnvironment(): Record<string, string> {
  const kept = [
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
  ];
  return Object.fromEntries(
    kept.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
}
