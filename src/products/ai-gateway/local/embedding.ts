import { wordsOf, weightOf } from "#products/ai-gateway/local/words.ts";

/**
 * Where a text's words fall when they are hashed, of length 1: texts that share words, or beginnings of words, lie near each
 * other. The same text always gives the same numbers. It knows nothing of what words mean.
 */
export function hashedEmbedding(text: string, dimensions: number): number[] {
  const sums = new Float64Array(dimensions);
  for (const word of wordsOf(text)) {
    addFeature(sums, word, weightOf(word));
    // `deploys` lies near `deployed`.
    if (word.length > 4) addFeature(sums, `${word.slice(0, 4)}*`, 0.5);
  }
  const length = Math.hypot(...sums);
  if (length === 0) sums[0] = 1;
  return Array.from(sums, (value) => (length === 0 ? value : value / length));
}

function addFeature(sums: Float64Array, feature: string, weight: number): void {
  const hash = fnv1a(feature);
  const at = hash % sums.length;
  sums[at] = (sums[at] ?? 0) + (fnv1a(`${feature}±`) & 1 ? weight : -weight);
}

/** 32 bits of FNV-1a (RFC 9923). */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
