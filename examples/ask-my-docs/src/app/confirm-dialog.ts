import { element } from "./dom.ts";

/** Asks before something that cannot be undone. Escape and the first button mean no. */
export function confirmDialog(question: string, explanation: string, yes: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const dialog = element(
    "dialog",
    { ariaLabel: question },
    element(
      "form",
      { method: "dialog" },
      element("h2", {}, question),
      element("p", { className: "muted" }, explanation),
      element(
        "div",
        { className: "buttons" },
        element("button", { value: "no", autofocus: true }, "Cancel"),
        element("button", { value: "yes", className: "danger" }, yes),
      ),
    ),
  );
  dialog.onclose = () => {
    dialog.remove();
    resolve(dialog.returnValue === "yes");
  };
  document.body.append(dialog);
  dialog.showModal();
  return promise;
}
