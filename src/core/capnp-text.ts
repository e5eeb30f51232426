/**
 * Text of a workerd configuration (Cap'n Proto's text format): objects become `(a = 1)`, arrays lists, `null` the value of a
 * Void member. `undefined` members are left out.
 */
export type CapnpValue =
  | string
  | number
  | boolean
  | null
  | CapnpRaw
  | readonly CapnpValue[]
  | { readonly [name: string]: CapnpValue | undefined };

/** Text that stands as it is, such as `embed "m0"`. */
export class CapnpRaw {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** The bytes of `file`, relative to the configuration: no escaping needed, whatever they are (workerd-runtime §11). */
export function embed(file: string): CapnpRaw {
  return new CapnpRaw(`embed ${quote(file)}`);
}

export function capnpText(value: CapnpValue, indent = ""): string {
  if (value === null) return "void";
  if (value instanceof CapnpRaw) return value.text;
  if (typeof value === "string") return quote(value);
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  const deeper = `${indent}  `;
  if (isList(value)) {
    if (value.length === 0) return "[]";
    return `[\n${value.map((item) => `${deeper}${capnpText(item, deeper)}`).join(",\n")}\n${indent}]`;
  }
  const members = Object.entries(value).flatMap(([name, member]) =>
    member === undefined ? [] : [`${name} = ${capnpText(member, deeper)}`],
  );
  const short = `(${members.join(", ")})`;
  return short.length <= 100 && !short.includes("\n")
    ? short
    : `(\n${members.map((member) => `${deeper}${member}`).join(",\n")}\n${indent})`;
}

/** A whole configuration, which `workerd serve FILE` reads. */
export function configText(config: { [name: string]: CapnpValue | undefined }): string {
  return `using Workerd = import "/workerd/workerd.capnp";\n\nconst config :Workerd.Config = ${capnpText(config)};\n`;
}

function isList(value: CapnpValue): value is readonly CapnpValue[] {
  return Array.isArray(value);
}

/** Bytes outside printable ASCII as `\xNN`: what capnp reads back is the UTF-8 text, whatever it holds. */
function quote(text: string): string {
  let quoted = '"';
  for (const byte of Buffer.from(text, "utf8")) {
    if (byte === 34 || byte === 92) quoted += `\\${String.fromCharCode(byte)}`;
    else if (byte >= 32 && byte < 127) quoted += String.fromCharCode(byte);
    else quoted += `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return `${quoted}"`;
}
