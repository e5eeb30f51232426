/** A producer and the consumer of what it sends. Every delivery is noted in KV, for `?since=` to read. */
export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    const call = calls[url.pathname.slice(1)];
    if (!call) return new Response("no such call", { status: 404 });
    try {
      return Response.json((await call(env, url.searchParams)) ?? null);
    } catch (error) {
      return Response.json({ error: `${error.name}: ${error.message}` }, { status: 500 });
    }
  },

  async queue(batch, env) {
    const note = {
      queue: batch.queue,
      messages: batch.messages.map(({ id, attempts, body }) => ({
        id,
        attempts,
        at: Date.now(),
        body: described(body),
      })),
    };
    await env.SEEN.put(`${batch.queue}/${Date.now()}-${crypto.randomUUID()}`, JSON.stringify(note));
    // What is dead is acknowledged.
    if (batch.queue === "jobs-dead") return;
    for (const message of batch.messages) behaviours[message.body?.then]?.(message, batch);
    if (batch.messages.some(({ body }) => body?.then?.includes("throw"))) throw new Error("thrown by the consumer");
  },
};

const behaviours = {
  ack: (message) => message.ack(),
  retry: (message) => message.retry(),
  "retry later": (message) => message.retry({ delaySeconds: 2 }),
  "retry, then ack": (message) => {
    message.retry();
    message.ack();
  },
  "ack, then retry": (message) => {
    message.ack();
    message.retry();
  },
  "ack, then throw": (message) => message.ack(),
  "retry all": (_message, batch) => batch.retryAll(),
  "ack all, then throw": (_message, batch) => batch.ackAll(),
};

const calls = {
  types: (env) =>
    env.JOBS.sendBatch([
      { body: { a: [1, null, "é"] } },
      { body: "text é\u{1f600}", contentType: "text" },
      { body: new Uint8Array([0, 255, 128]), contentType: "bytes" },
      { body: new Map([[1, new Date(5)]]), contentType: "v8" },
    ]),
  send: (env, query) => env.JOBS.send({ then: query.get("then"), n: query.get("n") }),
  sendTogether: (env, query) =>
    env.JOBS.sendBatch(query.getAll("then").map((then, at) => ({ body: { then, n: `${query.get("run")}.${at}` } }))),
  delayed: (env) => env.JOBS.send({ n: "delayed" }, { delaySeconds: 2 }),
  slow: (env, query) => env.SLOW.send({ n: query.get("n") }),
  metrics: (env) => env.JOBS.metrics(),
  tooLarge: (env) => env.JOBS.send("x".repeat(128_001), { contentType: "text" }),
  batchTooLarge: (env) =>
    env.JOBS.sendBatch(Array.from({ length: 3 }, () => ({ body: "x".repeat(100_000), contentType: "text" }))),
  tooMany: (env) => env.JOBS.sendBatch(Array.from({ length: 101 }, () => ({ body: 1 }))),
  longDelay: (env) => env.JOBS.send(1, { delaySeconds: 86_401 }),
  badType: (env) => env.JOBS.send(1, { contentType: "xml" }),
  circular(env) {
    const value = {};
    value.self = value;
    return env.JOBS.send(value);
  },
  async seen(env, query) {
    const { keys } = await env.SEEN.list({ prefix: `${query.get("queue")}/` });
    const notes = await Promise.all(keys.map(({ name }) => env.SEEN.get(name, "json")));
    return notes.filter((note) => note !== null);
  },
};

function described(body) {
  if (body instanceof ArrayBuffer) return { ArrayBuffer: [...new Uint8Array(body)] };
  if (body instanceof Map) return { Map: [...body].map(([key, value]) => [key, value.getTime()]) };
  return body;
}
