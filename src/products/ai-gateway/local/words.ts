/** Words in lower case, whatever the script. */
export function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
}

/** Longer words say more of what a text is about: `the` and `of` little, in any language. */
export function weightOf(word: string): number {
  return word.length <= 3 ? 0.2 : 1;
}
