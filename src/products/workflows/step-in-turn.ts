/** The engine's steps, as far as they are called. */
export type EngineStep = Record<"do" | "sleep" | "sleepUntil" | "waitForEvent", Call>;
type Call = (...args: unknown[]) => Promise<unknown>;
/** Does without its turn while it waits. */
type Aside = (wait: () => Promise<unknown>) => Promise<unknown>;

/** The engine's steps for an instance that gives its turn away while it waits. `Target`: workerd's RpcTarget. */
export function stepInTurn(Target: abstract new () => object, step: EngineStep, aside: Aside): EngineStep {
  class StepInTurn extends Target implements EngineStep {
    async do(...args: unknown[]): Promise<unknown> {
      return step.do(...args);
    }

    async sleep(...args: unknown[]): Promise<unknown> {
      return aside(async () => step.sleep(...args));
    }

    async sleepUntil(...args: unknown[]): Promise<unknown> {
      return aside(async () => step.sleepUntil(...args));
    }

    async waitForEvent(...args: unknown[]): Promise<unknown> {
      return aside(async () => step.waitForEvent(...args));
    }
  }
  return new StepInTurn();
}
