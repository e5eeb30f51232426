/** How long whoever waits looks by itself: who had a slot may have gone without giving it back. */
const lookMs = 1000;

/** So many at a time, and the others in the order in which they came. */
export class Slots {
  readonly #limit: number;
  readonly #holders = new Set<object>();
  readonly #waiting = new Set<() => void>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** True once `holder` has a slot; false when `isOver` says first that it wants none any more. `wait`: sleeps so many ms. */
  async take(holder: object, isOver: () => boolean, wait: (ms: number) => Promise<unknown>): Promise<boolean> {
    for (;;) {
      if (isOver()) return false;
      if (this.#holders.size < this.#limit) {
        this.#holders.add(holder);
        return true;
      }
      let wake = () => {};
      const woken = new Promise<void>((resolve) => (wake = resolve));
      this.#waiting.add(wake);
      await Promise.race([woken, wait(lookMs)]);
      this.#waiting.delete(wake);
    }
  }

  give(holder: object): void {
    if (!this.#holders.delete(holder)) return;
    const [first] = this.#waiting;
    first?.();
  }
}
