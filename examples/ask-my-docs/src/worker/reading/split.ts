/** About a page of a paperback: enough to be understood alone, little enough that a model can be shown many. */
const passageLength = 1_500;

/** Text in passages of whole paragraphs where they fit, else of whole sentences or words. */
export function splitText(text: string): string[] {
  const passages: string[] = [];
  let passage = "";
  for (const paragraph of text.split(/\n\s*\n/)) {
    for (const piece of cut(paragraph.trim())) {
      if (passage !== "" && passage.length + piece.length > passageLength) {
        passages.push(passage);
        passage = "";
      }
      passage = passage === "" ? piece : `${passage}\n\n${piece}`;
    }
  }
  return passage === "" ? passages : [...passages, passage];
}

/** Pieces that each fit a passage. */
function cut(paragraph: string): string[] {
  const pieces: string[] = [];
  let rest = paragraph;
  while (rest.length > passageLength) {
    const room = rest.slice(0, passageLength);
    const sentence = Math.max(room.lastIndexOf(". "), room.lastIndexOf("\n")) + 1;
    const end = sentence > passageLength / 2 ? sentence : room.lastIndexOf(" ") + 1 || passageLength;
    pieces.push(rest.slice(0, end).trim());
    rest = rest.slice(end).trim();
  }
  return rest === "" ? pieces : [...pieces, rest];
}
