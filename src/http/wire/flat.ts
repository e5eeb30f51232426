/**
 * A Latin-1 text as one piece of memory of its own. V8 keeps a slice as a reference to the text it was cut from (a whole
 * head, for as long as a cache holds one name of it), and a sum as a chain that is walked each time it is written.
 */
export function flat(text: string): string {
  return Buffer.from(text, "latin1").toString("latin1");
}
