import { weightOf, wordsOf } from "#products/ai-gateway/local/words.ts";

/** Sentences of an answer. */
const sentencesMax = 3;

export const notice = "[Solum's local provider: this is no language model. It repeats sentences that it was given.]";

/** The sentences of `given` that share most with `question`, in their order, after saying what answers. */
export function extractAnswer(question: string, given: string): string {
  const wanted = new Set(wordsOf(question));
  const scored = given
    .split(/(?<=[.!?])\s+|\n+/u)
    .map((sentence) => sentence.trim())
    .filter((sentence) => sentence !== "")
    .map((sentence, at) => ({ sentence, at, score: scoreOf(sentence, wanted) }))
    .filter(({ score }) => score >= 1);
  const best = scored.toSorted((a, b) => b.score - a.score || a.at - b.at).slice(0, sentencesMax);
  if (best.length === 0) return `${notice} Nothing that it was given is about the question.`;
  return `${notice} ${best
    .toSorted((a, b) => a.at - b.at)
    .map(({ sentence }) => sentence)
    .join(" ")}`;
}

function scoreOf(sentence: string, wanted: ReadonlySet<string>): number {
  return [...new Set(wordsOf(sentence))].reduce((sum, word) => sum + (wanted.has(word) ? weightOf(word) : 0), 0);
}
