import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { pollUntil } from "#core/deadline.ts";
import { runtimeLayout } from "#core/layout.ts";
import { askSocket } from "#runtime/probe.ts";
import { isAlive, findChildren } from "#runtime/proc.ts";
import type { SupervisorStatus } from "#runtime/supervisor.ts";
import { wranglerEnvironment, wranglerProgram } from "./wrangler-process.ts";

const root = join(import.meta.dirname, "..", "..");
const program = [
  join(root, "node_modules", ".bin", "node"),
  "--disable-warning=ExperimentalWarning",
  join(root, "dist", "main.js"),
] as const;

/** Wranglers of both generations of the deploy protocol (wrangler-api §3.9). */
export const wranglers = { "4.156": "wrangler", "4.125": "wrangler-4-125" } as const;
export type WranglerVersion = keyof typeof wranglers;
export const bothWranglers = Object.keys(wranglers) as WranglerVersion[];
/** The newest alone, and with `ALL_WRANGLERS=1` the older one as well: each command takes seconds. Deploys always run with both. */
export const testedWranglers = process.env["ALL_WRANGLERS"] === undefined ? bothWranglers.slice(0, 1) : bothWranglers;

export type Answer = { status: number; headers: IncomingHttpHeaders; body: Buffer; text: string };
export type ApiAnswer = {
  status: number;
  json: { success: boolean; errors: { code: number; message: string }[]; result: unknown };
};
export type Outcome = { code: number; output: string };

/** A command under way. */
export type Followed = {
  output: () => string;
  /** Sends a signal, SIGTERM by default; what the command ended with. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
  /** What it ended with by itself. */
  ended: Promise<number | null>;
};

/** A Solum of its own for a test: the built program, in temporary folders, on a free port. */
export class Solum implements AsyncDisposable {
  /** Everything of this instance is below it, runtime folder apart. */
  readonly folder = mkdtempSync(join(tmpdir(), "solum-test-"));
  readonly data = join(this.folder, "data");
  port = 0;
  output = "";
  environment: Record<string, string> = {};
  #process: ChildProcess | undefined;
  readonly #flags: readonly string[];
  /** A command that runs `solum up`, such as strace. */
  readonly #under: readonly string[];

  constructor(flags: readonly string[] = [], under: readonly string[] = []) {
    this.#flags = flags;
    this.#under = under;
  }

  /** Starts and waits until it says that it is ready. */
  static async start(...flags: string[]): Promise<Solum> {
    const solum = new Solum(flags);
    await solum.start();
    return solum;
  }

  async start(): Promise<void> {
    this.port = await freePort();
    await this.up();
  }

  /** Settings in the data folder's own file. */
  writeConfig(settings: Record<string, unknown>): void {
    mkdirSync(this.data, { recursive: true });
    writeFileSync(join(this.data, "config.json"), JSON.stringify(settings));
  }

  /** `solum up` on this instance's folders; again after it ended or was killed. */
  async up(): Promise<void> {
    const [command, ...args] = [...this.#under, ...program, "up", "--data", this.data, "--port", String(this.port)];
    const child = spawn(command ?? "", [...args, ...this.#flags], {
      env: this.#ownEnvironment(),
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = child;
    this.output = "";
    const collect = (bytes: Buffer) => (this.output += bytes.toString());
    child.stdout.on("data", collect);
    child.stderr.on("data", collect);
    await pollUntil({ ms: 60_000, everyMs: 5, what: "solum up" }, () => {
      if (child.exitCode !== null) throw new Error(`solum up ended with ${child.exitCode}:\n${this.output}`);
      return this.output.includes("Solum is ready") ? true : undefined;
    });
    const env = await this.run("env", "--json", "--data", this.data);
    this.environment = JSON.parse(env.output) as Record<string, string>;
  }

  get pid(): number {
    const ours = this.#process?.pid ?? 0;
    return this.#under.length === 0 ? ours : this.#instance.pid;
  }

  get runtime(): string {
    return this.#instance.runtime;
  }

  get #instance(): { runtime: string; pid: number } {
    return JSON.parse(readFileSync(join(this.data, "instance.json"), "utf8")) as { runtime: string; pid: number };
  }

  /** A command of `solum`, to its end. */
  async run(...args: string[]): Promise<Outcome> {
    return runToEnd(program[0], [...program.slice(1), ...args], { environment: this.#ownEnvironment() });
  }

  /** A command that goes on until it is stopped. */
  follow(...args: string[]): Followed {
    return followChild(spawn(program[0], [...program.slice(1), ...args], { env: this.#ownEnvironment() }));
  }

  /** The unmodified wrangler with a command that goes on until it is stopped. */
  followWrangler(project: string, args: readonly string[], version: WranglerVersion = "4.156"): Followed {
    const env = { ...this.#ownEnvironment(), ...wranglerEnvironment, ...this.environment };
    return followChild(spawn(program[0], [wranglerProgram(wranglers[version]), ...args], { cwd: project, env }));
  }

  /** The same, in a project's folder. */
  async runIn(folder: string, ...args: string[]): Promise<Outcome> {
    return runToEnd(program[0], [...program.slice(1), ...args], { cwd: folder, environment: this.#ownEnvironment() });
  }

  /** The unmodified wrangler, in `project`. */
  async wrangler(
    project: string,
    args: readonly string[],
    options: { version?: WranglerVersion; input?: string } = {},
  ): Promise<Outcome> {
    return runToEnd(program[0], [wranglerProgram(wranglers[options.version ?? "4.156"]), ...args], {
      cwd: project,
      environment: { ...this.#ownEnvironment(), ...wranglerEnvironment, ...this.environment },
      ...(options.input === undefined ? {} : { input: options.input }),
    });
  }

  /** A copy of a project of `test/projects`, for wrangler to work in. Modules resolve from the repository. */
  project(name: string): string {
    const folder = join(root, "test", ".projects");
    mkdirSync(folder, { recursive: true });
    const target = mkdtempSync(join(folder, `${name}-`));
    this.#projects.push(target);
    cpSync(join(root, "test", "projects", name), target, { recursive: true });
    return target;
  }
  readonly #projects: string[] = [];

  /** A request to a host of the ingress, whether or not the host resolves here. */
  async request(
    host: string,
    path = "/",
    options: { method?: string; headers?: Record<string, string>; body?: Buffer | string; signal?: AbortSignal } = {},
  ): Promise<Answer> {
    const outgoing = request({
      host: "127.0.0.1",
      port: this.port,
      method: options.method ?? "GET",
      path,
      headers: {
        host: `${host}:${this.port}`,
        // Node sends a DELETE's body without any framing of its own.
        ...(options.body === undefined ? {} : { "content-length": Buffer.byteLength(options.body) }),
        ...options.headers,
      },
      agent: false,
      ...(options.signal ? { signal: options.signal } : {}),
    });
    outgoing.end(options.body);
    const [response] = (await once(outgoing, "response")) as [IncomingMessage];
    const body = await buffer(response);
    return { status: response.statusCode ?? 0, headers: response.headers, body, text: body.toString("utf8") };
  }

  /** A request to the API below the first account. */
  async api(method: string, path: string, body?: unknown): Promise<ApiAnswer> {
    return this.v4(method, `/accounts/${this.environment["CLOUDFLARE_ACCOUNT_ID"]}${path}`, body);
  }

  /** The same for what lies outside of accounts. */
  async v4(method: string, path: string, body?: unknown): Promise<ApiAnswer> {
    const answer = await this.request("localhost", `/client/v4${path}`, {
      method,
      headers: { authorization: `Bearer ${this.environment["CLOUDFLARE_API_TOKEN"]}` },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: answer.status, json: JSON.parse(answer.text) as never };
  }

  /** An answer of the API below the first account that is no envelope. */
  async rawApi(path: string): Promise<Answer> {
    return this.request("localhost", `/client/v4/accounts/${this.environment["CLOUDFLARE_ACCOUNT_ID"]}${path}`, {
      headers: { authorization: `Bearer ${this.environment["CLOUDFLARE_API_TOKEN"]}` },
    });
  }

  /** What the supervisor says of its processes. */
  async status(): Promise<SupervisorStatus> {
    const { body } = await askSocket(runtimeLayout(this.runtime).supervisor, { path: "/status", ms: 10_000 });
    return JSON.parse(body) as SupervisorStatus;
  }

  /** SIGTERM, and its exit code. */
  async stop(): Promise<number | null> {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null;
    process.kill(this.pid, "SIGTERM");
    await once(child, "exit");
    return child.exitCode;
  }

  /** SIGKILL of `solum up` alone; what it started goes on. */
  async killSupervisor(): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  }

  /** Ends everything and removes every file. */
  async [Symbol.asyncDispose](): Promise<void> {
    const runtime = existsSync(join(this.data, "instance.json")) ? [this.runtime] : [];
    await this.stop();
    for (const { facts } of runtime.flatMap((instance) => findChildren(instance)))
      if (isAlive(facts)) process.kill(facts.pid, "SIGKILL");
    for (const folder of [this.folder, ...runtime, ...this.#projects]) rmSync(folder, { recursive: true, force: true });
  }

  #ownEnvironment(): Record<string, string> {
    return {
      PATH: process.env["PATH"] ?? "",
      HOME: this.folder,
      XDG_STATE_HOME: join(this.folder, "state"),
      CI: "1",
      NO_COLOR: "1",
      WRANGLER_HIDE_BANNER: "true",
    };
  }
}

function followChild(child: ChildProcess): Followed {
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream?.on("data", (bytes: Buffer) => (output += bytes.toString()));
  child.stdin?.end();
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  const stop = async (signal: NodeJS.Signals = "SIGTERM") => {
    child.kill(signal);
    return ended;
  };
  return { output: () => output, stop, ended };
}

async function runToEnd(
  command: string,
  args: readonly string[],
  options: { cwd?: string; environment: Record<string, string>; input?: string },
): Promise<Outcome> {
  const child = spawn(command, args, {
    cwd: options.cwd ?? tmpdir(),
    env: options.environment,
    stdio: ["pipe", "pipe", "pipe"],
  });
  let output = "";
  child.stdout.on("data", (bytes: Buffer) => (output += bytes.toString()));
  child.stderr.on("data", (bytes: Buffer) => (output += bytes.toString()));
  child.stdin.end(options.input ?? "");
  const [code] = (await once(child, "close")) as [number | null];
  return { code: code ?? -1, output };
}

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (typeof address !== "object" || !address) throw new Error("no port");
  return address.port;
}
