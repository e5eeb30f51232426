import { RpcTarget } from "cloudflare:workers";

class Tally extends RpcTarget {
  value = 0;
  increment(by = 1) {
    return (this.value += by);
  }
}

const same = (got, wanted) => {
  const [a, b] = [JSON.stringify(got), JSON.stringify(wanted)];
  if (a !== b) throw new Error(`got ${a}, wanted ${b}`);
};
const caught = async (promise) => {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
};

/** Each is a behaviour of RPC between Workers (workers/runtime-apis/rpc), asserted here, where a user's code would see it. */
const cases = {
  async "calls a method"({ CALLEE }) {
    same(await CALLEE.add(1, 2), 3);
  },
  async "reads a property"({ CALLEE }) {
    same(await CALLEE.motto, "per aspera");
  },
  async "passes what structured clone passes"({ CALLEE }) {
    const value = { date: new Date(3), set: new Set([1]), big: 5n, bytes: new Uint8Array([1, 2]), error: new TypeError("x") };
    const back = await CALLEE.echo(value);
    same([back.date.getTime(), [...back.set], back.big === 5n, [...back.bytes]], [3, [1], true, [1, 2]]);
    same([back.error instanceof TypeError, back.error.message], [true, "x"]);
  },
  async "passes a megabyte"({ CALLEE }) {
    const text = "ü".repeat(1_000_000);
    same((await CALLEE.echo(text)) === text, true);
  },
  async "keeps the type of an error"({ CALLEE }) {
    const error = await caught(CALLEE.fail("range"));
    same([error instanceof RangeError, error.name, error.message], [true, "RangeError", "out of range"]);
  },
  async "has the remote method and the caller in what is thrown, and no stack of the callee's"({ CALLEE }) {
    const error = await caught(CALLEE.fail("own"));
    same([error.message, error.stack.includes("rpc-callee")], ["with more", false]);
    same(error.remote, true);
  },
  async "throws what is no error"({ CALLEE }) {
    // As workerd does it in one process, too.
    same(await caught(CALLEE.fail("string")), { remote: true });
  },
  async "says that a method is not there"({ CALLEE }) {
    const error = await caught(CALLEE.nothing());
    same([error instanceof TypeError, error.message], [true, 'The RPC receiver does not implement the method "nothing".']);
  },
  async "gets an RpcTarget and calls it"({ CALLEE }) {
    using counter = await CALLEE.counter(5);
    same([await counter.increment(), await counter.increment(4), await counter.value], [6, 10, 10]);
  },
  async "calls what a call will give before it has come"({ CALLEE }) {
    same(await CALLEE.counter(2).child().increment(), 21);
    using child = await CALLEE.counter(3).child();
    same(await child.value, 30);
  },
  async "gets a function"({ CALLEE }) {
    using adder = await CALLEE.adder(10);
    same(await adder(5), 15);
  },
  async "gives a function"({ CALLEE }) {
    same(await CALLEE.callBack((value) => value * 2, 4), "called 8");
    same((await caught(CALLEE.callBack(() => { throw new SyntaxError("mine"); }, 4))).name, "SyntaxError");
  },
  async "gives an RpcTarget"({ CALLEE }) {
    const tally = new Tally();
    same(await CALLEE.useTarget(tally), [1, 6]);
    same(tally.value, 6);
  },
  async "gives back a stub of the callee's own"({ CALLEE }) {
    using counter = await CALLEE.counter(1);
    same(await CALLEE.useTarget(counter), [2, 7]);
  },
  async "gets its own stub back"({ CALLEE }) {
    const tally = new Tally();
    using back = await CALLEE.echo(tally);
    same([await back.increment(), await back.increment(), tally.value], [1, 2, 2]);
    same(await CALLEE.echo(new Tally()).increment(), 1);
  },
  async "finds stubs inside of objects"({ CALLEE }) {
    using result = await CALLEE.nested();
    same([await result.counter.increment(), result.list[2].date.getTime(), result.list[2].map.get("a") === 1n], [2, 5, true]);
  },
  async "keeps a stub's duplicate after the stub is gone"({ CALLEE }) {
    const counter = await CALLEE.counter(1);
    const kept = counter.dup();
    counter[Symbol.dispose]();
    same((await caught(counter.increment())).message, "RPC stub used after being disposed.");
    same(await kept.increment(), 2);
    kept[Symbol.dispose]();
  },
  async "streams to the callee"({ CALLEE }) {
    const { readable, writable } = new IdentityTransformStream();
    const size = CALLEE.size(readable);
    const writer = writable.getWriter();
    for (let i = 0; i < 50; i++) await writer.write(new Uint8Array(100_000));
    await writer.close();
    same(await size, 5_000_000);
  },
  async "streams from the callee"({ CALLEE }) {
    let bytes = 0;
    for await (const chunk of await CALLEE.stream(50, 100_000)) bytes += chunk.length;
    same(bytes, 5_000_000);
  },
  async "passes a Request and gets a Response"({ CALLEE }) {
    const answer = await CALLEE.answer(new Request("https://a.example/x", { method: "PUT", headers: { "x-mine": "1" } }));
    same([answer.status, await answer.text()], [201, "PUT https://a.example/x 1"]);
  },
  async "reaches a named entrypoint"({ NAMED }) {
    same(await NAMED.whoami(), { entrypoint: "Named", props: {}, release: "one" });
  },
  async "gives it the binding's props"({ TENANT }) {
    same((await TENANT.whoami()).props, { tenant: "été", rights: ["read"] });
  },
  async "fetches from the default entrypoint"({ CALLEE }) {
    same(await (await CALLEE.fetch("https://any.example/p")).text(), "default GET /p");
  },
  async "fetches from a named entrypoint, with props"({ TENANT, NAMED }) {
    const answer = await TENANT.fetch("https://any.example/p?q", { method: "POST", body: "b", headers: { "x-mine": "1" } });
    same(await answer.json(), { props: { tenant: "été", rights: ["read"] }, url: "https://any.example/p?q", headers: ["x-mine"], body: "b" });
    same((await (await NAMED.fetch("https://any.example/")).json()).props, {});
  },
  async "cannot make up what a binding says"({ CALLEE, NAMED }) {
    const headers = { "x-solum-entry": encodeURIComponent('["Secret",{}]'), "x-bind": "service:x" };
    same((await (await NAMED.fetch("https://any.example/", { headers })).json()).props, {});
    same(await (await CALLEE.fetch("https://any.example/p", { headers })).text(), "default GET /p");
  },
  async "opens a WebSocket to a named entrypoint"({ TENANT }) {
    const { webSocket } = await TENANT.fetch("https://any.example/", { headers: { upgrade: "websocket" } });
    webSocket.accept();
    const heard = new Promise((resolve) => webSocket.addEventListener("message", ({ data }) => resolve(data)));
    webSocket.send("hello");
    same(await heard, "echo hello");
    webSocket.close();
  },
  async "says that an entrypoint is not there"({ NOWHERE }) {
    const { message } = await caught(NOWHERE.whoami());
    same(message.startsWith('The Worker "rpc-callee" has no entrypoint named "Missing".'), true);
  },
  async "calls its own entrypoints"({ CALLEE }) {
    same((await CALLEE.viaSelf()).entrypoint, "Named");
    same((await CALLEE.viaExports()).props, { from: "exports" });
  },
  async "calls many at once"({ CALLEE }) {
    const sums = await Promise.all(Array.from({ length: 200 }, (_, i) => CALLEE.add(i, 1)));
    same(sums, Array.from({ length: 200 }, (_, i) => i + 1));
  },
  async "gives a stub of one entrypoint to another"({ CALLEE, NAMED }) {
    using counter = await CALLEE.counter(7);
    same(await CALLEE.callBack(() => counter.increment(), 0), "called 8");
    same((await NAMED.whoami()).entrypoint, "Named");
  },
};

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/release") return new Response(await env.CALLEE.release());
    if (pathname === "/wait") return new Response(await env.CALLEE.wait(Number(new URL(request.url).searchParams.get("ms"))));
    const failures = {};
    for (const [name, run] of Object.entries(cases)) {
      try {
        await Promise.race([run(env), scheduler.wait(5000).then(() => Promise.reject(new Error("took too long")))]);
      } catch (error) {
        failures[name] = String(error?.stack ?? error);
      }
    }
    return Response.json({ ran: Object.keys(cases).length, failures });
  },
};
