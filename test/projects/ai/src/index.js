import OpenAI from "openai";

const messages = [{ role: "user", content: "Whose is the ground?" }];
const headers = { Authorization: "Bearer sk-worker" };

/** A question of a feature's, asked on one of its routes. */
async function ask(env, request, feature, model) {
  const { pathname, searchParams } = new URL(request.url);
  const query = { model, messages: [{ role: "user", content: searchParams.get("q") }] };
  const answer = await env.AI.gateway("costs").run(
    { provider: "openai", endpoint: "chat/completions", headers, query },
    { gateway: { metadata: { feature, route: pathname } } },
  );
  return { cache: answer.headers.get("cf-aig-cache-status"), text: (await answer.json()).choices[0].message.content };
}

/** One path for each thing that the AI binding can do. */
const does = {
  async universal(env, request) {
    const gateway = env.AI.gateway("bound");
    const query = { model: "gpt-4o-mini", messages };
    const metadata = { feature: "from-a-worker", paid: true };
    const answer = await gateway.run(
      { provider: "openai", endpoint: "chat/completions", headers: { ...headers, "x-count": 3 }, query },
      { gateway: { metadata, eventId: "event-1" }, signal: request.signal },
    );
    const body = await answer.json();
    const id = answer.headers.get("cf-aig-log-id");
    const log = await gateway.getLog(id);
    await gateway.patchLog(id, { feedback: -1, score: 40, metadata: { reviewed: "yes" } });
    const after = await gateway.getLog(id);
    return { body, log, isDate: log.created_at instanceof Date, after, remembered: env.AI.aiGatewayLogId === id };
  },
  async run(env) {
    const answer = await env.AI.run("openai/gpt-4o-mini", { messages }, { gateway: { id: "bound" }, extraHeaders: headers });
    return { answer, id: env.AI.aiGatewayLogId };
  },
  async local(env) {
    const inputs = { messages: [{ role: "system", content: "The ground is yours. Ships float." }, ...messages] };
    const stream = await env.AI.run("@cf/meta/llama-3.1-8b-instruct", { ...inputs, stream: true });
    return {
      embedded: await env.AI.run("@cf/baai/bge-base-en-v1.5", { text: "ground" }),
      said: await env.AI.run("@cf/meta/llama-3.1-8b-instruct", inputs),
      streamed: await new Response(stream).text(),
    };
  },
  async stream(env) {
    const inputs = { messages, stream: true };
    const answer = await env.AI.run("openai/gpt-4o-mini", inputs, { gateway: { id: "bound" }, extraHeaders: headers });
    return new Response(answer, { headers: { "content-type": "text/event-stream" } });
  },
  async sdk(env) {
    const baseURL = await env.AI.gateway("bound").getUrl("openai");
    const client = new OpenAI({ apiKey: "sk-inside", baseURL });
    const answer = await client.chat.completions.create({ model: "gpt-4o-mini", messages });
    return { baseURL, universal: await env.AI.gateway("bound").getUrl(), text: answer.choices[0].message.content };
  },
  async errors(env) {
    const told = async (work) => work().then(() => "no error", (error) => `${error.name}: ${error.message}`);
    const gateway = env.AI.gateway("bound");
    return {
      log: await told(() => gateway.getLog("01a21454-0000-7000-8000-000000000000")),
      patch: await told(() => gateway.patchLog("01a21454-0000-7000-8000-000000000000", { score: 1 })),
      model: await told(() => env.AI.run("@cf/openai/whisper", { prompt: "x" })),
      provider: await told(() => env.AI.run("openai/refused", { messages }, { gateway: { id: "bound" }, extraHeaders: headers })),
      gateway: await told(() => env.AI.run("openai/x", { messages }, { gateway: { id: "nobody" } })),
      markdown: await told(() => env.AI.toMarkdown([{ name: "a.txt", blob: new Blob(["text"]) }])),
    };
  },
  search: async (env, request) => ask(env, request, "search", "gpt-4o-mini"),
  summary: async (env, request) => ask(env, request, "documents", "gpt-4o"),
  title: async (env, request) => ask(env, request, "documents", "gpt-4o-mini"),
  async models(env) {
    return env.AI.models();
  },
};

export default {
  async fetch(request, env) {
    const answer = await does[new URL(request.url).pathname.slice(1)](env, request);
    return answer instanceof Response ? answer : Response.json(answer);
  },
};
