export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    if (url.pathname === "/service") {
      const answer = await env.HELLO.fetch("https://any.example/path?q=1", { method: "POST", body: "x", headers: { "x-mine": "1" } });
      return new Response(`service: ${await answer.text()}`);
    }
    try {
      const answer = await fetch(url.searchParams.get("to"));
      return new Response(`${answer.status}: ${await answer.text()}`);
    } catch (error) {
      return new Response(`${error.name}: ${error.message}`, { status: 502 });
    }
  },
};
