/**
 * Milliseconds as of the last sweep: exact enough for deadlines of seconds, and free to read. Asking the system for the time
 * on every piece of every body is not.
 */
export class CoarseClock {
  now = performance.now();

  tick(): number {
    this.now = performance.now();
    return this.now;
  }
}
