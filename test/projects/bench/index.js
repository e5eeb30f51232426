/** The same Worker on every platform that is measured: one path an operation. */
const value = "v".repeat(100);
const object = new Uint8Array(10_000).fill(7);
const any = (count) => Math.floor(Math.random() * count);

const operations = {
  "/hello": async () => new Response("Hello, world!\n"),
  "/kv-get": async (env) => new Response(await env.KV.get(`key-${any(1000)}`)),
  "/kv-put": async (env) => {
    await env.KV.put(`put-${any(100_000)}`, value);
    return new Response("ok");
  },
  "/kv-get-20": async (env) => {
    let length = 0;
    for (let n = 0; n < 20; n++) length += (await env.KV.get(`key-${any(1000)}`)).length;
    return new Response(String(length));
  },
  "/d1-get": async (env) => Response.json(await env.DB.prepare("SELECT * FROM users WHERE id = ?").bind(1 + any(1000)).first()),
  "/d1-insert": async (env) => {
    const { meta } = await env.DB.prepare("INSERT INTO events (name, value) VALUES (?, ?)").bind("name", value).run();
    return new Response(meta.changes === 1 ? "ok" : "not written");
  },
  "/r2-get": async (env) => new Response((await env.BUCKET.get(`object-${any(100)}`)).body),
  "/r2-put": async (env) => {
    await env.BUCKET.put(`put-${any(100_000)}`, object);
    return new Response("ok");
  },
  "/setup": async (env) => {
    await env.DB.exec("CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT, mail TEXT)");
    await env.DB.exec("CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, name TEXT, value TEXT)");
    await env.DB.exec("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT OR REPLACE INTO users SELECT i, 'name ' || i, i || '@example.com' FROM n");
    await Promise.all(Array.from({ length: 1000 }, (_, n) => env.KV.put(`key-${n}`, value)));
    await Promise.all(Array.from({ length: 100 }, (_, n) => env.BUCKET.put(`object-${n}`, object)));
    return new Response("ok");
  },
};

export default {
  fetch(request, env) {
    const operation = operations[new URL(request.url).pathname];
    return operation ? operation(env) : new Response("no such operation", { status: 404 });
  },
};
