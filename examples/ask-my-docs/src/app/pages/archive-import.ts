import type { ArchiveImport } from "../../shared/api.ts";
import { limits } from "../../shared/limits.ts";
import { api, messageOf, uploadArchive } from "../api.ts";
import { element, iconButton } from "../dom.ts";
import { sizeText } from "../format.ts";

/** How often an import is asked how far it is. */
const lookMs = 500;

/** A button that takes a ZIP file, and a row that tells how its files become documents. */
export function createArchiveImport(onDone: () => Promise<void>, signal: AbortSignal) {
  const list = element("ul", { className: "rows uploads", ariaLabel: "Imports" });
  const input = element("input", { type: "file", accept: ".zip", className: "visually-hidden", id: "archive" });
  input.onchange = () => {
    const [file] = input.files ?? [];
    if (file) void follow(file);
    input.value = "";
  };
  const label = element("label", { htmlFor: "archive", className: "button quiet" }, "Import a ZIP file");
  return { button: element("span", { className: "import" }, input, label), list };

  /** Never fails: what goes wrong is said in the row. */
  async function follow(file: File): Promise<void> {
    const line = element("p", { className: "line muted", role: "status" }, "On its way");
    const progress = element("progress", { max: file.size || 1, value: 0, ariaLabel: `Import of ${file.name}` });
    const close = iconButton("close", `Hide the import of ${file.name}`, () => row.remove());
    const text = element(
      "div",
      { className: "text" },
      element("div", { className: "title" }, file.name),
      line,
      progress,
    );
    const row = element("li", { className: "row" }, text, element("div", { className: "actions" }, close));
    list.append(row);
    try {
      if (file.size > limits.uploadBytes) throw new RangeError();
      const show = (sent: number) => (progress.value = sent);
      let current: ArchiveImport = await uploadArchive(file, show, signal);
      while (current.endedAt === null) {
        progress.max = current.files ?? 1;
        progress.value = current.imported;
        line.textContent = current.files === null ? "Looking inside" : `${current.imported} of ${current.files} files`;
        await new Promise((resolve) => setTimeout(resolve, lookMs));
        current = await api.archiveImport(current.id, signal);
      }
      progress.hidden = true;
      line.textContent = outcomeOf(current);
      line.classList.toggle("problem", current.problem !== null);
      await onDone();
    } catch (error) {
      if (signal.aborted) return;
      progress.hidden = true;
      line.textContent =
        error instanceof RangeError ? `Larger than ${sizeText(limits.uploadBytes)}.` : messageOf(error);
      line.classList.add("problem");
    }
  }
}

function outcomeOf({ problem, imported, leftOut }: ArchiveImport): string {
  if (problem !== null) return problem;
  const files = imported === 1 ? "1 file is a document now" : `${imported} files are documents now`;
  return leftOut === 0 ? `${files}.` : `${files}. There was no room for ${leftOut} more.`;
}
