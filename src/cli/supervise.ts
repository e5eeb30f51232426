import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { wranglerEnvironment } from "#cli/environment.ts";
import { askResult } from "#cli/client.ts";
import { announceInstance, type Instance } from "#cli/instance.ts";
import type { Config } from "#config.ts";
import { inheritedEnvironment } from "#environment.ts";
import { messageOf } from "#core/errors.ts";
import { dataLayout, runtimeLayout } from "#core/layout.ts";
import { readProcess } from "#runtime/proc.ts";

/** The supervisor as this command sees it; `roles/supervisor.ts` wires it. */
export type RunningSupervisor = {
  /** Resolves when everything serves. */
  ready: Promise<void>;
  /** The first account. */
  accountId: () => string;
  /** Finishes what is open, then ends every process. */
  stop(): Promise<void>;
  /** Ends every process at once. */
  kill(): Promise<void>;
};

/** What `solum up` becomes: runs the supervisor, tells a person how it goes, and ends when asked to. */
export async function supervise(
  runtime: string,
  firstDeploy: string | undefined,
  start: (config: Config) => Promise<RunningSupervisor>,
): Promise<void> {
  const config = JSON.parse(await readFile(runtimeLayout(runtime).config, "utf8")) as Config;
  const began = performance.now();
  say(`Starting Solum on ${config.data} ...`);
  const supervisor = await start(config);
  const stopping = stopOnSignal(supervisor, config);
  await Promise.race([supervisor.ready, stopping]);
  const instance = describe(config, supervisor);
  await announceInstance(instance);
  say(`Solum is ready: ${instance.url}   (${((performance.now() - began) / 1000).toFixed(1)} s)`);
  if (firstDeploy !== undefined && (await isEmpty(instance)))
    await deployFirst(instance, firstDeploy).catch((error: unknown) =>
      say(`The example could not be deployed: ${messageOf(error)}`),
    );
  else say("Deploy a project from its folder: solum wrangler deploy");
  await stopping;
}

/** A signal that comes this soon after the first is the same one: npm passes on what the terminal has sent already. */
const sameSignalMs = 1000;

/** Resolves when everything has stopped. A second Ctrl-C does not wait for what is open. */
async function stopOnSignal(supervisor: RunningSupervisor, config: Config): Promise<void> {
  const { promise: told, resolve: tell } = Promise.withResolvers<NodeJS.Signals>();
  const { promise: cutOff, resolve: cut } = Promise.withResolvers<void>();
  let firstMs: number | undefined;
  // These stay: a signal without a listener would end this process and leave the others.
  const take = (signal: NodeJS.Signals) => {
    firstMs ??= performance.now();
    tell(signal);
    if (signal === "SIGINT" && performance.now() - firstMs > sameSignalMs) cut();
  };
  process.on("SIGINT", take);
  process.on("SIGTERM", take);
  const signal = await told;
  const waits = `up to ${Math.round(config.drainMs / 1000)} s for requests that are open`;
  say(`Stopping: waiting ${waits}${signal === "SIGINT" ? " (Ctrl-C again to cut them off)" : ""} ...`);
  await Promise.race([supervisor.stop(), cutOff.then(() => supervisor.kill())]);
  await rm(dataLayout(config.data).instance, { force: true });
  say("Stopped.");
  process.exit(0);
}

function describe(config: Config, { accountId }: RunningSupervisor): Instance {
  const standard = config.publicScheme === "https" ? 443 : 80;
  const port = config.publicScheme === "https" || config.port === standard ? "" : `:${config.port}`;
  return {
    pid: process.pid,
    startTicks: readProcess(process.pid)?.startTicks ?? 0,
    data: config.data,
    runtime: config.runtime ?? "",
    url: `${config.publicScheme}://${config.consoleHost}${port}`,
    accountId: accountId(),
  };
}

async function isEmpty(instance: Instance): Promise<boolean> {
  return (await askResult<unknown[]>(instance, "/workers/scripts")).length === 0;
}

/** Runs the project's `setup` script with npm, as its author would, so that a newcomer has something to look at. */
async function deployFirst(instance: Instance, project: string): Promise<void> {
  say(`Nothing is deployed yet: deploying ${project} with wrangler ...`);
  const child = spawn("npm", ["run", "--silent", "setup"], {
    cwd: project,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...inheritedEnvironment(), ...(await wranglerEnvironment(instance)), WRANGLER_HIDE_BANNER: "true", CI: "1" },
  });
  const output: Buffer[] = [];
  child.stdout.on("data", (bytes: Buffer) => output.push(bytes));
  child.stderr.on("data", (bytes: Buffer) => output.push(bytes));
  const [code] = (await once(child, "exit")) as [number | null];
  if (code !== 0)
    throw new Error(`npm run setup ended with ${code}\n${Buffer.concat(output).toString("utf8").slice(-4000)}`);
  say(`The example is live: ${await firstAddress(instance)}`);
  say(`Its source: ${join(project, "src")}. Change it, then: solum wrangler deploy`);
}

async function firstAddress(instance: Instance): Promise<string> {
  const [first] = await askResult<{ id: string }[]>(instance, "/workers/scripts");
  return (await askResult<{ subdomain: { url: string } }>(instance, `/workers/workers/${first?.id}`)).subdomain.url;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
