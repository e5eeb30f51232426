import { WorkerEntrypoint } from "cloudflare:workers";

export class Greeter extends WorkerEntrypoint {
  greet(name) {
    console.log("greeted", name);
    return `hello ${name}`;
  }
}

/** Does what a tail tells about, one path each. */
export default {
  async fetch(request, env, ctx) {
    const url = new URL(request.url);
    switch (url.pathname) {
      case "/log":
        console.log("a line", { with: "data" }, 3);
        console.debug("details");
        console.info("for information");
        console.warn("careful");
        console.error(new TypeError("said, not thrown"));
        return new Response("logged");
      case "/needle":
        console.log({ hay: ["a needle in it"] });
        return new Response("found");
      case "/throw":
        console.log("before it");
        throw new RangeError("thrown on purpose");
      case "/status":
        return new Response("", { status: Number(url.searchParams.get("code")) });
      case "/later":
        ctx.waitUntil(scheduler.wait(Number(url.searchParams.get("ms"))).then(() => console.log("later")));
        return new Response("at once");
      case "/hangs":
        console.log("begins to hang");
        await scheduler.wait(60_000);
        return new Response("too late");
      case "/rpc":
        return new Response(await ctx.exports.Greeter.greet("you"));
      case "/escape":
        console.log("red \u001b[31m text");
        return new Response("escape");
      case "/socket": {
        const [client, server] = Object.values(new WebSocketPair());
        server.accept();
        server.addEventListener("message", ({ data }) => {
          console.log(`heard ${data}`);
          server.send(`echo ${data}`);
        });
        return new Response(null, { status: 101, webSocket: client });
      }
      default:
        return new Response(`${env.VERSION.id} ${request.method}`);
    }
  },
};
