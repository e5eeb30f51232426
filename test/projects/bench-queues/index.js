/** Sends to a queue, and consumes it. */
export default {
  async fetch(_request, env) {
    await env.JOBS.send({ name: "a job", n: Math.random() });
    return new Response("ok");
  },
  queue() {},
};
