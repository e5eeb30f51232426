import { messageOf } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";
import type { Child } from "#runtime/child.ts";
import type { FrontLaunch, FrontRunning, FrontSockets, Startable } from "#runtime/front-launch.ts";
import { ProcessGauge } from "#runtime/gauge.ts";
import { Keeper } from "#runtime/keeper.ts";
import { askSocket } from "#runtime/probe.ts";
import { demand } from "#runtime/scaling.ts";
import { heard, judge, type RunawayLimits, type Silence, type Verdict } from "#runtime/runaways.ts";

export type FrontVersion = { workerId: string; versionId: string; scriptName: string };

/** What all fronts have in common. */
export type FrontSurroundings = {
  instance: string;
  /** Something about a front is different now. */
  changed: () => void;
  /** Resolves when a start may begin, with what to call when it is over. */
  turn: (signal: AbortSignal) => Promise<() => void>;
};

type Meter = {
  pid: number;
  gauge: ProcessGauge;
  silence: Silence;
  window?: { at: number; cpuMs: number; sleeps: number };
};

/** How long a sign of life is waited for; then it is asked for anew, and the silence counts on. */
const askMs = 60_000;

const log = createLogger("supervisor.front");

/** A process of a version and whatever follows it when it ends, with what they have used. */
export class Front {
  readonly version: FrontVersion;
  readonly keeper: Keeper;
  /** Whether the ingress may send it requests. One that is not offered leaves once the ingress has acknowledged that. */
  offered = true;
  /** What would be started anew; undefined for a process of a supervisor before us that nothing asks for any more. */
  readonly startable: Startable | undefined;
  #running: FrontRunning | undefined;
  #meter: Meter | undefined;
  /** CPU time of the processes before the present one, ms. */
  #pastCpuMs = 0;

  constructor(
    version: FrontVersion,
    around: FrontSurroundings,
    again?: { startable: Startable; launch: () => Promise<FrontLaunch> },
  ) {
    this.version = version;
    this.startable = again?.startable;
    this.keeper = new Keeper({
      ...around,
      name: `front of ${version.scriptName}`,
      launch: async () => {
        if (!again) throw new Error("nothing asks for this process any more");
        const launched = await again.launch();
        this.#running = launched;
        return launched;
      },
    });
  }

  /** Begins; `adopted` serves already. */
  start(adopted?: { launch: FrontRunning; child: Child }): void {
    this.#running = adopted?.launch;
    this.keeper.start(adopted);
  }

  /** Where it answers; undefined while it does not. */
  get sockets(): FrontSockets | undefined {
    return this.keeper.state === "ready" ? this.#running?.sockets : undefined;
  }

  get logFile(): string | undefined {
    return this.#running?.logFile;
  }

  /** What its processes have used, as of the last look. */
  get usage(): { cpuMs: number; memoryBytes: number } {
    const last = this.#meter?.gauge.last;
    return { cpuMs: this.#pastCpuMs + (last?.cpuMs ?? 0), memoryBytes: last?.memoryBytes ?? 0 };
  }

  /**
   * How much of a core it would use if it got one, over the time since the last call; undefined in the first call for a
   * process.
   */
  load(now: number): number | undefined {
    const meter = this.#meterNow();
    const before = meter?.window;
    if (!meter) return undefined;
    const { cpuMs, sleeps } = meter.gauge.last;
    meter.window = { at: now, cpuMs, sleeps };
    return before && demand({ ms: now - before.at, cpuMs: cpuMs - before.cpuMs, sleeps: sleeps - before.sleeps });
  }

  /** Looks at what it uses, asks it for a sign of life when that is due, and says whether it has gone too far. */
  look(limits: RunawayLimits): Exclude<Verdict, "ask"> {
    const meter = this.#meterNow();
    if (!meter?.gauge.look()) return "fine";
    const { gauge, silence } = meter;
    const probe = this.sockets?.probe;
    // Until it serves it compiles and evaluates, which has limits of its own.
    if (probe === undefined) heard(silence, gauge.last);
    const verdict = judge(gauge.last, silence, limits);
    if (verdict !== "ask") return verdict;
    if (probe !== undefined) void this.#ask(probe, gauge, silence);
    return "fine";
  }

  /** Ends it for good. Answers the CPU time of all its processes, ms. */
  async stop(graceMs: number): Promise<number> {
    this.#meterNow()?.gauge.look();
    await this.keeper.stop(graceMs);
    this.#meterNow();
    return this.#pastCpuMs;
  }

  async #ask(probe: string, gauge: ProcessGauge, silence: Silence): Promise<void> {
    silence.asked = true;
    try {
      await askSocket(probe, { ms: askMs });
      heard(silence, gauge.last);
    } catch (error) {
      log.debug("a process gave no sign of life", { process: this.keeper.name, error: messageOf(error) });
    } finally {
      silence.asked = false;
    }
  }

  #meterNow(): Meter | undefined {
    const { pid } = this.keeper;
    if (this.#meter?.pid === pid) return this.#meter;
    if (this.#meter) {
      this.#pastCpuMs += this.#meter.gauge.last.cpuMs;
      this.#meter.gauge.close();
    }
    const gauge = pid === undefined ? undefined : ProcessGauge.open(pid);
    this.#meter =
      pid === undefined || !gauge
        ? undefined
        : { pid, gauge, silence: { cpuMs: 0, memoryBytes: 0, calls: -1, asked: false } };
    return this.#meter;
  }
}
