import type { Note } from "../../shared/api.ts";
import { limits } from "../../shared/limits.ts";
import { api, messageOf } from "../api.ts";
import { createAutosave, type SaveState } from "../autosave.ts";
import { confirmDialog } from "../confirm-dialog.ts";
import { element, iconButton } from "../dom.ts";

export interface NoteEditor {
  element: HTMLElement;
  focus(): void;
  /** Saves what is not saved yet, and stops. */
  close(): Promise<void>;
}

const stateTexts: Record<SaveState, string> = {
  saved: "Saved",
  unsaved: "Not saved yet",
  saving: "Saving",
  failed: "Not saved. Trying again soon",
  changed: "Not saved",
  gone: "Not saved. The note was deleted in another window",
};

/** A title, a text, and a word that always tells whether they are saved. */
export function createNoteEditor(
  note: Note,
  { onSaved, onRemoved }: { onSaved: () => void; onRemoved: () => void },
): NoteEditor {
  let { revision } = note;
  const title = createTitle(note.title);
  const body = createBody(note.body);
  const state = element("span", { className: "save-state muted", role: "status" });
  const problem = element("p", { className: "problem", role: "alert" });
  const choice = createChoice({ onTheirs: () => void settle(takeTheirs), onMine: () => void settle(keepMine) });
  const autosave = createAutosave({ save, onState: showState });
  title.oninput = body.oninput = autosave.changed;

  return {
    element: element(
      "article",
      { className: "note-editor" },
      element(
        "div",
        { className: "note-bar" },
        element("a", { href: "/notes", className: "all-notes" }, "All notes"),
        state,
        iconButton("remove", "Delete this note", () => void askAndRemove()),
      ),
      problem,
      choice,
      title,
      body,
    ),
    focus,
    close: autosave.close,
  };

  /** Except where that would bring up a keyboard over a note that is only to be read. */
  function focus(): void {
    const isNew = title.value === "" && body.value === "";
    if (isNew) title.focus();
    else if (matchMedia("(hover: hover)").matches) body.focus({ preventScroll: true });
  }

  async function save(): Promise<void> {
    const saved = await api.saveNote(note.id, { title: title.value, body: body.value, revision });
    revision = saved.revision;
    onSaved();
  }

  function showState(next: SaveState, error?: unknown): void {
    state.textContent = stateTexts[next];
    state.dataset["state"] = next;
    choice.hidden = next !== "changed";
    problem.textContent = next === "failed" ? messageOf(error) : "";
  }

  async function settle(how: (theirs: Note) => void): Promise<void> {
    try {
      how(await api.note(note.id));
    } catch (error) {
      problem.textContent = messageOf(error);
    }
  }

  function takeTheirs(theirs: Note): void {
    ({ revision, title: title.value, body: body.value } = theirs);
    autosave.reset();
  }

  function keepMine(theirs: Note): void {
    ({ revision } = theirs);
    autosave.changed();
  }

  async function askAndRemove(): Promise<void> {
    const question = title.value === "" ? "Delete this note?" : `Delete “${title.value}”?`;
    if (!(await confirmDialog(question, "It is gone for good then.", "Delete"))) return;
    try {
      await api.deleteNote(note.id);
      autosave.reset();
      onSaved();
      onRemoved();
    } catch (error) {
      problem.textContent = messageOf(error);
    }
  }
}

function createTitle(value: string): HTMLInputElement {
  const maxLength = limits.noteTitleLength;
  return element("input", { className: "note-title", ariaLabel: "Title", placeholder: "Title", maxLength, value });
}

function createBody(value: string): HTMLTextAreaElement {
  const placeholder = "Write in Markdown, or just write.";
  const maxLength = limits.noteBodyLength;
  return element("textarea", { className: "note-body", ariaLabel: "Text", placeholder, maxLength, value });
}

function createChoice({ onTheirs, onMine }: { onTheirs: () => void; onMine: () => void }): HTMLElement {
  return element(
    "div",
    { className: "choice", hidden: true, role: "alert" },
    element("span", {}, "Another window saved a different text."),
    element("button", { type: "button", onclick: onTheirs }, "Show that one"),
    element("button", { type: "button", onclick: onMine }, "Keep this one"),
  );
}
