/** POST /<binding>: runs the body, a statement. Answers its rows, or what it threw. */
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (request.method !== "POST") return new Response("ready");
    try {
      const { results } = await env[pathname.slice(1)].prepare(await request.text()).all();
      return Response.json(results);
    } catch (error) {
      return new Response(error.message, { status: 500 });
    }
  },
};
