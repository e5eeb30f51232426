import { closeSync, openSync, readSync } from "node:fs";
import { cpuMsOf } from "#runtime/proc.ts";

/** What a process has used. */
export type Usage = {
  /** User and system time of all its threads, ms. */
  cpuMs: number;
  /**
   * Bytes that are its own: heap, ArrayBuffers, WebAssembly memory, compiled code, in memory or swapped out. Not the pages of
   * the program's file, which all processes share.
   */
  memoryBytes: number;
  /**
   * Calls of the kernel that read or wrote. While they grow, the process is not caught in one computation; where the kernel
   * does not tell, 0.
   */
  calls: number;
  /** How often its main thread had nothing to do. One that never has is busy, however little of a core it gets. */
  sleeps: number;
};

/** Larger than either file is. */
const buffer = Buffer.allocUnsafe(16 * 1024);

/**
 * Reads again and again what one process uses. The files of `/proc` stay open: that is half the cost of a look (4 µs measured),
 * and a later process with the same pid can never be taken for this one.
 */
export class ProcessGauge {
  readonly #pid: number;
  readonly #stat: number;
  readonly #status: number;
  #io: number | undefined;
  #last: Usage = { cpuMs: 0, memoryBytes: 0, calls: 0, sleeps: 0 };

  private constructor(pid: number, stat: number, status: number) {
    this.#pid = pid;
    this.#stat = stat;
    this.#status = status;
  }

  /** undefined when there is no such process. */
  static open(pid: number): ProcessGauge | undefined {
    const stat = open(`/proc/${pid}/stat`);
    const status = open(`/proc/${pid}/status`);
    if (stat !== undefined && status !== undefined) {
      const gauge = new ProcessGauge(pid, stat, status);
      gauge.look();
      return gauge;
    }
    for (const file of [stat, status]) if (file !== undefined) closeSync(file);
    return undefined;
  }

  /** What it has used so far; once it has ended, what it had used when it was last seen. */
  get last(): Usage {
    return this.#last;
  }

  /** Looks. False when the process has ended. */
  look(): boolean {
    try {
      const cpuMs = cpuMsOf(readAll(this.#stat));
      const status = readAll(this.#status);
      const memoryBytes = (member(status, "RssAnon") + member(status, "VmSwap")) * 1024;
      const calls = this.#calls();
      this.#last = { cpuMs, memoryBytes, calls, sleeps: member(status, "voluntary_ctxt_switches") };
      return true;
    } catch {
      return false;
    }
  }

  /** The kernel may refuse it, for a while to a process that is just being put into its sandbox. */
  #calls(): number {
    this.#io ??= open(`/proc/${this.#pid}/io`);
    if (this.#io === undefined) return 0;
    try {
      const io = readAll(this.#io);
      return member(io, "syscr") + member(io, "syscw");
    } catch {
      return this.#last.calls;
    }
  }

  close(): void {
    for (const file of [this.#stat, this.#status, this.#io]) if (file !== undefined) closeSync(file);
  }
}

function open(path: string): number | undefined {
  try {
    return openSync(path, "r");
  } catch {
    return undefined;
  }
}

function readAll(file: number): string {
  return buffer.toString("latin1", 0, readSync(file, buffer, 0, buffer.length, 0));
}

/** The number behind `name`; 0 when it is not there, as in the files of a process that is just ending. */
function member(text: string, name: string): number {
  const at = text.indexOf(`\n${name}:`);
  return at < 0 ? 0 : Number.parseInt(text.slice(at + name.length + 2), 10);
}
