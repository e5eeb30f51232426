import { XMLParser, XMLValidator } from "fast-xml-parser";
import { s3Errors } from "#products/r2/s3/s3-errors.ts";

/** What becomes an element: text, children by name, or several elements of one name. */
export type XmlValue = string | number | boolean | undefined | XmlValue[] | { [name: string]: XmlValue };

const declaration = `<?xml version="1.0" encoding="UTF-8"?>`;
const s3Namespace = "http://s3.amazonaws.com/doc/2006-03-01/";

/** A document; with S3's namespace unless it is an error. */
export function xmlDocument(name: string, value: XmlValue, namespace: string | undefined = s3Namespace): string {
  const content = inner(value);
  return `${declaration}<${name}${namespace ? ` xmlns="${namespace}"` : ""}>${content}</${name}>`;
}

function inner(value: XmlValue): string {
  if (value === undefined) return "";
  if (typeof value !== "object") return escape(String(value));
  return Object.entries(value)
    .map(([name, child]) => element(name, child))
    .join("");
}

function element(name: string, value: XmlValue): string {
  if (value === undefined) return "";
  if (Array.isArray(value)) return value.map((one) => element(name, one)).join("");
  return `<${name}>${inner(value)}</${name}>`;
}

const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;" };
// XML 1.0 has no way to write most control characters. S3 writes references to them all the same; a client that must be
// sure asks for `encoding-type=url`.
// oxlint-disable-next-line no-control-regex
const special = /[&<>"'\x00-\x1f\x7f-\x9f]/g;

function escape(text: string): string {
  return text.replace(special, (one) => entities[one] ?? `&#x${one.charCodeAt(0).toString(16).toUpperCase()};`);
}

/** Elements below any one, ours: 10,000 parts of a CompleteMultipartUpload have four each. */
const elementsMax = 60_000;

const parser = new XMLParser({
  ignoreAttributes: true,
  parseTagValue: false,
  trimValues: false,
  removeNSPrefix: true,
  htmlEntities: true,
  alwaysCreateTextNode: true,
  isArray: () => true,
});

/** The children of the root element `name`. Nothing that declares entities is parsed. */
export function parseXml(text: string, name: string): Element {
  if (/<!(DOCTYPE|ENTITY)/i.test(text) || (text.match(/</g)?.length ?? 0) > elementsMax * 2)
    throw s3Errors.malformedXml();
  if (XMLValidator.validate(text) !== true) throw s3Errors.malformedXml();
  let parsed: Record<string, unknown>;
  try {
    parsed = parser.parse(text) as Record<string, unknown>;
  } catch {
    throw s3Errors.malformedXml();
  }
  const [root, ...others] = (parsed[name] ?? []) as unknown[];
  if (root === undefined || others.length > 0) throw s3Errors.malformedXml();
  return new Element(root);
}

/** An element of a parsed document. */
export class Element {
  readonly #value: unknown;

  constructor(value: unknown) {
    this.#value = value;
  }

  children(name: string): Element[] {
    const value = this.#value;
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return [];
    const found = (value as Record<string, unknown>)[name];
    return (Array.isArray(found) ? found : [found]).map((child) => new Element(child));
  }

  child(name: string): Element | undefined {
    const [first, ...others] = this.children(name);
    if (others.length > 0) throw s3Errors.malformedXml();
    return first;
  }

  /** The text of the child `name`. */
  text(name: string): string | undefined {
    return this.child(name)?.content;
  }

  texts(name: string): string[] {
    return this.children(name).map(({ content }) => content);
  }

  get content(): string {
    const value = this.#value;
    if (typeof value !== "object" || value === null) return typeof value === "string" ? value : "";
    const [text] = new Element(value).children("#text").map((child) => child.#value);
    return typeof text === "string" ? text : "";
  }
}
