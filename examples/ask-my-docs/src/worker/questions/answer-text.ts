/** The text in a stream of chat completion events, piece by piece. A stream that breaks off is an error, not an end. */
export function answerText(events: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  let rest = "";
  let isOver = false;
  const lines = new TransformStream<string, string>({
    transform(piece, controller) {
      const [last = "", ...before] = (rest + piece).split(/\r?\n/).toReversed();
      rest = last;
      for (const line of before.toReversed()) {
        if (!line.startsWith("data:")) continue;
        const data = line.slice("data:".length).trim();
        if (data === "[DONE]") isOver = true;
        else if (data !== "") controller.enqueue(textOf(data));
      }
    },
    flush() {
      if (!isOver) throw new Error("The answer broke off.");
    },
  });
  return events.pipeThrough(new TextDecoderStream()).pipeThrough(lines).pipeThrough(new TextEncoderStream());
}

type Chunk = { choices?: { delta?: { content?: string | null } }[]; error?: { message?: string } };

function textOf(data: string): string {
  const { choices, error } = JSON.parse(data) as Chunk;
  if (error) throw new Error(error.message ?? "The model failed.");
  return choices?.[0]?.delta?.content ?? "";
}
