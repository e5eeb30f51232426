import { limits } from "../../shared/limits.ts";
import { element } from "../dom.ts";

/** A field with a name in it, and the two ways out as buttons. Enter saves, Escape stops. */
export function createRenameForm(
  name: string,
  { save, stop }: { save: (newName: string) => Promise<void>; stop: () => void },
) {
  const input = element("input", { value: name, ariaLabel: "New name", maxLength: limits.documentNameLength });
  const form = element("form", { className: "rename" }, input);
  form.onsubmit = (event) => {
    event.preventDefault();
    void save(input.value);
  };
  input.onkeydown = ({ key }) => {
    if (key === "Escape") stop();
  };
  const buttons = [
    element("button", { type: "button", className: "quiet", onclick: () => form.requestSubmit() }, "Save"),
    element("button", { type: "button", className: "quiet", onclick: stop }, "Cancel"),
  ];
  return { form, buttons, focus };

  function focus(): void {
    input.focus();
    // The part before the ending is what people change.
    input.setSelectionRange(0, name.lastIndexOf(".") > 0 ? name.lastIndexOf(".") : name.length);
  }
}
