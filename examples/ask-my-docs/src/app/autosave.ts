import { ApiError } from "./api.ts";

export type SaveState = "saved" | "unsaved" | "saving" | "failed" | "changed" | "gone";

const delayMs = 600;
const retryMs = 5_000;

/**
 * Saves a moment after the last change, and never twice at once: what changes during a save is saved after it. A save that
 * fails is tried again, even after the page was left; one that would overwrite another window's waits for a choice.
 */
export function createAutosave({
  save,
  onState,
}: {
  save: () => Promise<void>;
  onState: (state: SaveState, error?: unknown) => void;
}) {
  let state: SaveState = "saved";
  let timer = 0;
  let running: Promise<void> | undefined;
  let closing = false;
  const done = new AbortController();
  const { signal } = done;
  addEventListener("beforeunload", (event) => isSettled() || event.preventDefault(), { signal });
  document.addEventListener("visibilitychange", () => void saveNow(), { signal });
  enter("saved");
  return { changed, reset, close };

  function changed(): void {
    enter("unsaved");
    schedule(delayMs);
  }

  /** What is shown now is what the server has. */
  function reset(): void {
    clearTimeout(timer);
    enter("saved");
  }

  async function close(): Promise<void> {
    closing = true;
    await saveNow();
    stopWhenDone();
  }

  async function saveNow(): Promise<void> {
    await running;
    if (state !== "unsaved" && state !== "failed") return;
    clearTimeout(timer);
    enter("saving");
    running = save().then(saved, failed);
    await running;
    stopWhenDone();
  }

  /** Unless something changed meanwhile, which is still to be saved. */
  function saved(): void {
    if (state === "saving") enter("saved");
  }

  function failed(error: unknown): void {
    const code = error instanceof ApiError ? error.code : "";
    if (code === "note_changed") return enter("changed");
    if (code === "not_found") return enter("gone");
    enter("failed", error);
    schedule(retryMs);
  }

  function enter(next: SaveState, error?: unknown): void {
    state = next;
    onState(next, error);
  }

  function schedule(afterMs: number): void {
    clearTimeout(timer);
    timer = setTimeout(() => void saveNow(), afterMs);
  }

  function isSettled(): boolean {
    return state === "saved" || state === "gone";
  }

  function stopWhenDone(): void {
    if (closing && (isSettled() || state === "changed")) done.abort();
  }
}
