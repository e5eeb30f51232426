/** What stands below the header. */
export interface Page {
  title: string;
  element: HTMLElement;
  /** Called instead of making the page again when only the rest of its path has changed. */
  show?(rest: string): void;
  /** Called before another page takes its place: ends what is still running, and saves what is not saved yet. */
  leave?(): void | Promise<void>;
}
