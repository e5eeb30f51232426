import type { Document } from "../../shared/api.ts";
import { limits } from "../../shared/limits.ts";
import { messageOf, upload } from "../api.ts";
import { element, iconButton } from "../dom.ts";
import { sizeText } from "../format.ts";
import { fileBadge } from "./document-row.ts";

/** The files that are on their way, one after the other. Each has a row until it is a document or was given up. */
export function createUploads(onDone: (document: Document) => void, signal: AbortSignal) {
  const list = element("ul", { className: "rows uploads", ariaLabel: "Uploads" });
  let last = Promise.resolve();

  function add(files: Iterable<File>): void {
    for (const file of files) {
      const row = createUploadRow(file, signal);
      list.append(row.element);
      last = last.then(() => row.send(onDone));
    }
  }

  return { element: list, add };
}

function createUploadRow(file: File, pageLeft: AbortSignal) {
  const cancelled = new AbortController();
  const signal = AbortSignal.any([pageLeft, cancelled.signal]);
  const line = element("p", { className: "line muted", role: "status" }, "Waiting");
  const progress = element("progress", { max: file.size || 1, value: 0, ariaLabel: `Upload of ${file.name}` });
  const again = element("button", { type: "button", className: "quiet", hidden: true }, "Try again");
  const giveUp = iconButton("close", `Cancel ${file.name}`, () => {
    cancelled.abort();
    row.remove();
  });
  const row = element(
    "li",
    { className: "row" },
    fileBadge(file.name),
    element("div", { className: "text" }, element("div", { className: "title" }, file.name), line, progress),
    element("div", { className: "actions" }, again, giveUp),
  );
  return { element: row, send };

  /** Never fails: what goes wrong with one file is said in its row, and the next one goes on. */
  async function send(onDone: (document: Document) => void): Promise<void> {
    if (signal.aborted) return;
    line.classList.remove("problem");
    again.hidden = true;
    progress.hidden = false;
    try {
      if (file.size > limits.uploadBytes) throw new RangeError();
      const document = await upload(file, showProgress, signal);
      row.remove();
      onDone(document);
    } catch (error) {
      if (signal.aborted) return;
      const tooLarge = error instanceof RangeError;
      line.textContent = tooLarge ? `Larger than ${sizeText(limits.uploadBytes)}.` : messageOf(error);
      line.classList.add("problem");
      progress.hidden = true;
      again.hidden = tooLarge;
      again.onclick = () => void send(onDone);
    }
  }

  function showProgress(sent: number): void {
    progress.value = sent;
    line.textContent = sent < file.size ? `${sizeText(sent)} of ${sizeText(file.size)}` : "Almost there";
  }
}

/** Takes files that are dropped anywhere on the window, and shows on `page` that they are welcome. */
export function acceptDrops(page: HTMLElement, onFiles: (files: Iterable<File>) => void, signal: AbortSignal): void {
  const hasFiles = ({ dataTransfer }: DragEvent) => dataTransfer?.types.includes("Files") ?? false;
  const mark = (isOver: boolean) => page.classList.toggle("files-over", isOver);
  addEventListener(
    "dragover",
    (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      mark(true);
    },
    { signal },
  );
  addEventListener("dragleave", ({ relatedTarget }) => relatedTarget === null && mark(false), { signal });
  addEventListener(
    "drop",
    (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      mark(false);
      onFiles(event.dataTransfer?.files ?? []);
    },
    { signal },
  );
}
