/** Whether a model can read this document as it is. */
export function isText({ type }: { type: string }): boolean {
  const plain = (type.split(";")[0] ?? "").trim().toLowerCase();
  return plain.startsWith("text/") || /^application\/([\w.-]+\+)?(json|xml|yaml)$/.test(plain);
}
