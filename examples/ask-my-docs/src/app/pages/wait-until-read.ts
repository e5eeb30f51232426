import { api } from "../api.ts";

const lookEveryMs = 1_000;
const looksMax = 60;

/** A document can be asked once it was read, which takes a moment. How many passages it has then; null when it takes too long. */
export async function waitUntilRead(documentId: string, signal: AbortSignal): Promise<number | null> {
  for (let looks = 0; looks < looksMax && !signal.aborted; looks++) {
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
    // What cannot be told now is told the next time.
    const { passages } = await api.document(documentId, signal).catch(() => ({ passages: null }));
    if (passages !== null) return passages;
  }
  return null;
}
