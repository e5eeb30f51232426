import { expect, test } from "vitest";
import { notice } from "#products/ai-gateway/local/extract.ts";
import { runLocally } from "#products/ai-gateway/local/run.ts";

const json = (model: string, inputs: unknown) => {
  const answer = runLocally(model, inputs);
  if (!("json" in answer)) throw new Error("not a whole answer");
  return answer.json as { shape: number[]; data: number[][]; response: string };
};

test.each([
  ["@cf/baai/bge-small-en-v1.5", 384],
  ["@cf/baai/bge-base-en-v1.5", 768],
  ["@cf/baai/bge-large-en-v1.5", 1024],
  ["@cf/baai/bge-m3", 1024],
  ["@cf/google/embeddinggemma-300m", 300],
])("%s has %d dimensions, the same each time, near for texts that share words", (model, dimensions) => {
  const text = ["Rivers carry water to the sea.", "A river carries its water.", "Invoices are due in March."];
  const { shape, data } = json(model, { text });
  expect(shape).toEqual([3, dimensions]);
  expect(json(model, { text }).data).toEqual(data);
  const [first = [], near = [], far = []] = data;
  const dot = (a: number[], b: number[]) => a.reduce((sum, value, at) => sum + value * (b[at] ?? 0), 0);
  expect(dot(first, first)).toBeCloseTo(1, 6);
  expect(dot(first, near)).toBeGreaterThan(dot(first, far) + 0.1);
});

const messages = [
  { role: "system", content: "Water boils at 100 degrees. Bread rises with yeast. Cats sleep long." },
  { role: "user", content: "When does water boil, at how many degrees?" },
];

test("text is repeated from what was given, and says that no model wrote it; a stream says the same", () => {
  const { response } = json("@cf/meta/llama-3.1-8b-instruct", { messages });
  expect(response).toBe(`${notice} Water boils at 100 degrees.`);
  const streamed = runLocally("@cf/meta/llama-3.1-8b-instruct", { messages, stream: true });
  const events = "events" in streamed ? streamed.events : [];
  expect(events.at(-1)).toBe("data: [DONE]\n\n");
  const said = events.slice(0, -1).map((event) => JSON.parse(event.slice("data: ".length)) as { response: string });
  expect(said.map((event) => event.response).join("")).toBe(response);
});

test("says so when nothing fits, and knows no other kinds of models", () => {
  expect(json("@cf/google/gemma-3-12b-it", { prompt: "Cats sleep.\nWho owns Mars?" }).response).toContain(
    "Nothing that it was given",
  );
  expect(() => runLocally("@cf/openai/whisper", { audio: [1] })).toThrow("No such model");
  expect(() => runLocally("@cf/black-forest-labs/flux-1-schnell", { prompt: "a cat" })).toThrow("No such model");
  expect(() => runLocally("@cf/meta/llama-guard-3-8b", { messages })).toThrow("No such model");
  expect(() => runLocally("@cf/baai/bge-m3", { text: [] })).toThrow("1 to 100");
});
