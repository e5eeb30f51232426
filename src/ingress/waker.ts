import { createLogger } from "#core/log.ts";
import type { IngressLimits } from "#ingress/limits.ts";

const log = createLogger("ingress.waker");

type What = { target: string } | { host: string };

/** How the supervisor is asked. */
interface Wire {
  wake(what: What): Promise<{ known?: boolean }>;
}

type Question = {
  askedMs: number;
  /** Table that was in force; another one may have put the target to sleep once more. */
  generation: number;
  /** asked: no answer yet. lost: nobody answered. */
  answer: "asked" | "yes" | "no" | "lost";
};

/**
 * Tells the supervisor what is wanted that does not run: targets that sleep, and hosts that no table names but that may be a
 * preview. Each is asked for once, and once more every `wakeEveryMs` for as long as requests wait for it.
 */
export class Waker {
  readonly #wire: Wire | undefined;
  readonly #limits: IngressLimits;
  readonly #targets = new Map<string, Question>();
  /** The oldest first. */
  readonly #hosts = new Map<string, Question>();
  #answered: () => void = () => {};
  #asking = 0;
  /** Whether the last question got no answer; said once in the log. */
  #lost = false;

  /** Without a `wire` nothing is ever woken. */
  constructor(wire: Wire | undefined, limits: IngressLimits) {
    this.#wire = wire;
    this.#limits = limits;
  }

  /** Calls `listener` when an answer changes what waiting requests should do. */
  onAnswer(listener: () => void): void {
    this.#answered = listener;
  }

  /** Wants a target. False while the supervisor cannot be reached. */
  wakeTarget(target: string, generation: number): boolean {
    const before = this.#targets.get(target);
    if (before && before.generation === generation && !this.#isDue(before)) return before.answer !== "lost";
    const question = this.#ask({ target }, generation);
    if (question) this.#targets.set(target, question);
    // One that got no answer before is not reachable until it gives one.
    if (question && before?.answer === "lost") question.answer = "lost";
    return question ? question.answer !== "lost" : this.#wire !== undefined;
  }

  /**
   * Whether a host that no table names may yet be named by one. `no`: the supervisor does not know it. `lost`: it cannot be
   * reached, which may change.
   */
  wakeHost(host: string, generation: number): "yes" | "no" | "lost" {
    const before = this.#hosts.get(host);
    if (before && !this.#isStale(before)) return before.answer === "asked" ? "yes" : before.answer;
    const question = this.#ask({ host }, generation);
    if (!question) return this.#wire === undefined ? "no" : "lost";
    if (before?.answer === "lost") question.answer = "lost";
    this.#hosts.delete(host);
    this.#hosts.set(host, question);
    this.#boundHosts();
    return question.answer === "lost" ? "lost" : "yes";
  }

  /** Forgets what no longer matters. */
  sweep(): void {
    const now = performance.now();
    for (const questions of [this.#targets, this.#hosts])
      for (const [name, question] of questions)
        if (now - question.askedMs > this.#limits.unknownHostMs) questions.delete(name);
  }

  #isDue({ askedMs }: Question): boolean {
    return performance.now() - askedMs >= this.#limits.wakeEveryMs;
  }

  #isStale(question: Question): boolean {
    if (question.answer !== "no") return this.#isDue(question);
    return performance.now() - question.askedMs >= this.#limits.unknownHostMs;
  }

  /** Undefined when there is nobody to ask, or too much is asked already. */
  #ask(what: What, generation: number): Question | undefined {
    if (!this.#wire || this.#asking >= this.#limits.wakeQuestions) return undefined;
    const question: Question = { askedMs: performance.now(), generation, answer: "asked" };
    void this.#settle(question, this.#wire, what);
    return question;
  }

  async #settle(question: Question, wire: Wire, what: What): Promise<void> {
    this.#asking++;
    try {
      const { known } = await wire.wake(what);
      this.#lost = false;
      question.answer = "host" in what && known !== true ? "no" : "yes";
    } catch (error) {
      if (!this.#lost) log.warn("the supervisor cannot be asked to wake a Worker", { ...what, error });
      this.#lost = true;
      question.answer = "lost";
    }
    this.#asking--;
    if (question.answer !== "yes") this.#answered();
  }

  #boundHosts(): void {
    for (const host of this.#hosts.keys()) {
      if (this.#hosts.size <= this.#limits.rememberedHosts) return;
      this.#hosts.delete(host);
    }
  }
}
