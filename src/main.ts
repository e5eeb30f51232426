import { enableCompileCache } from "node:module";
import type { Command } from "#cli/arguments.ts";

import { UserError } from "#core/errors.ts";

enableCompileCache();

/** Commands of people, and the two that Solum starts itself: `supervise RUNTIME` and `role NAME RUNTIME [INDEX]`. */
async function main([first, second = "", third, fourth]: readonly string[]): Promise<void> {
  if (first === "supervise") {
    const [{ supervise }, { startSupervisor }] = await Promise.all([
      import("#cli/supervise.ts"),
      import("#roles/supervisor.ts"),
    ]);
    return supervise(second, third, startSupervisor);
  }
  if (first === "role") return runRole(second, third ?? "", Number(fourth ?? 0));
  // Not before: what checks settings is larger than what most processes need.
  const { parseCommand } = await import("#cli/arguments.ts");
  return runCommand(parseCommand(process.argv.slice(2)));
}

async function runCommand(command: Command): Promise<void> {
  switch (command.name) {
    case "up":
      return (await import("#cli/up.ts")).up(command);
    case "env":
      return (await import("#cli/env.ts")).env(command);
    case "status":
      return (await import("#cli/status.ts")).status(command);
    case "logs":
      return (await import("#cli/logs.ts")).logs(command);
    case "wrangler":
      process.exitCode = await (await import("#cli/wrangler.ts")).wrangler(command.args, command);
      return;
    case "help":
      return (await import("#cli/print.ts")).print((await import("#cli/arguments.ts")).help);
    case "version":
      return (await import("#cli/print.ts")).printVersion();
  }
}

/** `index`: which one of several processes of the same role. */
async function runRole(name: string, runtime: string, index: number): Promise<void> {
  switch (name) {
    case "control":
      return (await import("#roles/control.ts")).runControl(runtime);
    case "state":
      return (await import("#roles/state.ts")).runState(runtime);
    case "vectors":
      return (await import("#roles/vectors.ts")).runVectors(runtime);
    case "ai":
      return (await import("#roles/ai.ts")).runAi(runtime);
    case "ingress":
      return (await import("#roles/ingress.ts")).runIngress(runtime, index);
    default:
      throw new UserError(`There is no role "${name}".`);
  }
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  // What a person can mend is said in a sentence; a bug shows where it is.
  const { printError } = await import("#cli/print.ts");
  printError(error instanceof UserError ? error.message : error);
  process.exitCode = 1;
}
