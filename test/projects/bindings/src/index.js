/** Answers what each binding does, one path each. */
export default {
  async fetch(request, env, ctx) {
    const url = new URL(request.url);
    const key = url.searchParams.get("key") ?? "key";
    switch (url.pathname) {
      case "/vars":
        return Response.json({ text: env.TEXT, json: env.JSON_VAR, secret: env.SECRET ?? null, version: env.VERSION, names: Object.keys(env).sort() });
      case "/kv":
        if (request.method === "PUT") {
          await env.KV.put(key, request.body, { metadata: { at: 1 } });
          return new Response("stored");
        }
        return Response.json(await env.KV.getWithMetadata(key));
      case "/d1":
        if (request.method === "POST") return Response.json(await env.DB.prepare("INSERT INTO items (name) VALUES (?) RETURNING id, name").bind(await request.text()).all());
        return Response.json(await env.DB.prepare("SELECT id, name, note FROM items ORDER BY id").all());
      case "/r2":
        if (request.method === "PUT") {
          const object = await env.BUCKET.put(key, request.body, { httpMetadata: request.headers });
          return Response.json({ etag: object.etag, size: object.size });
        } else {
          const object = await env.BUCKET.get(key);
          if (!object) return new Response("no such object", { status: 404 });
          const headers = new Headers({ etag: object.httpEtag });
          object.writeHttpMetadata(headers);
          return new Response(object.body, { headers });
        }
      case "/request":
        return Response.json({ url: request.url, headers: Object.fromEntries(request.headers), cf: request.cf });
      case "/log":
        console.log("a line", { with: "data" });
        console.error("an error line");
        ctx.waitUntil(new Promise((resolve) => setTimeout(() => resolve(console.log("late line")), 50)));
        return new Response("logged");
      case "/throw":
        throw new RangeError("thrown on purpose");
      case "/stream": {
        const { readable, writable } = new TransformStream();
        const writer = writable.getWriter();
        ctx.waitUntil((async () => {
          for (let n = 0; n < 5; n++) {
            await writer.write(new TextEncoder().encode(`data: ${n}\n\n`));
            await new Promise((resolve) => setTimeout(resolve, 20));
          }
          await writer.close();
        })());
        return new Response(readable, { headers: { "content-type": "text/event-stream" } });
      }
      case "/socket": {
        const [client, server] = Object.values(new WebSocketPair());
        server.accept();
        server.addEventListener("message", ({ data }) => server.send(`echo ${data}`));
        return new Response(null, { status: 101, webSocket: client });
      }
      default:
        return new Response("not here", { status: 404 });
    }
  },
};
