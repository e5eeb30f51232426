import { request } from "node:http";
import { text } from "node:stream/consumers";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { giveAddress, uploadWorker } from "../test/support/direct-upload.ts";
import { Solum } from "../test/support/start-solum.ts";
import { machine, median, spread } from "./support/figures.ts";

/**
 * Calls between two Workers, beside miniflare (both in one process there) in the same run, rounds interleaved:
 * `node bench/rpc.ts [rounds] [calls]`. One request makes all the calls, so that what is measured is the calls.
 */
const [rounds = 5, calls = 2000] = process.argv.slice(2).map(Number);
const atOnce = 16;
const kinds = ["add", "fetch", "counter"];

const callee = `
import { RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
class Counter extends RpcTarget { next() { return 1; } }
export default class extends WorkerEntrypoint {
  add(a, b) { return a + b; }
  counter() { return new Counter(); }
  fetch() { return new Response("3"); }
}`;
const caller = `
const kinds = {
  add: (callee) => callee.add(1, 2),
  counter: (callee) => callee.counter().next(),
  fetch: async (callee) => (await callee.fetch("http://callee/")).text(),
};
export default { async fetch(request, { CALLEE }) {
  const { pathname, searchParams } = new URL(request.url);
  const call = kinds[pathname.slice(1)];
  for (let n = Number(searchParams.get("n")); n > 0; n--) await call(CALLEE);
  return new Response("done");
} };`;

const date = "2026-10-01";
await using solum = await Solum.start();
await uploadWorker(solum, "callee", callee, { compatibility_date: date });
await uploadWorker(solum, "caller", caller, {
  compatibility_date: date,
  bindings: [{ type: "service", name: "CALLEE", service: "callee" }],
});
await giveAddress(solum, "caller");
const miniflare = new Miniflare(
  convertV4MiniflareOptions({
    workers: [
      { name: "caller", modules: true, script: caller, compatibilityDate: date, serviceBindings: { CALLEE: "callee" } },
      { name: "callee", modules: true, script: callee, compatibilityDate: date },
    ],
  }),
);
const url = await miniflare.ready;
const targets = { miniflare: Number(url.port), solum: solum.port };

process.stdout.write(`${machine()}\n`);
for (const kind of kinds) {
  const one: Record<string, number[]> = { miniflare: [], solum: [] };
  const many: Record<string, number[]> = { miniflare: [], solum: [] };
  for (let round = 0; round < rounds; round++)
    for (const [name, port] of Object.entries(targets)) {
      await run(port, kind, 200);
      one[name]?.push(((await run(port, kind, calls)) / calls) * 1000);
      const each = Math.ceil((calls * 2) / atOnce);
      const began = performance.now();
      await Promise.all(Array.from({ length: atOnce }, () => run(port, kind, each)));
      many[name]?.push((each * atOnce) / ((performance.now() - began) / 1000));
    }
  const ratio = median(many["solum"] ?? []) / median(many["miniflare"] ?? []);
  process.stdout.write(
    `${kind}: µs a call at c=1: miniflare ${spread(one["miniflare"] ?? [], 0)}, solum ${spread(one["solum"] ?? [], 0)}; ` +
      `calls a second at c=${atOnce}: miniflare ${spread(many["miniflare"] ?? [], 0)}, solum ${spread(many["solum"] ?? [], 0)} (${ratio.toFixed(2)})\n`,
  );
}
await miniflare.dispose();

/** Milliseconds of a request that makes `count` calls. */
async function run(port: number, kind: string, count: number): Promise<number> {
  const began = performance.now();
  const headers = { host: `caller.localhost:${port}` };
  await new Promise<void>((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port, path: `/${kind}?n=${count}`, headers }, (answer) => {
      text(answer).then((body) => (body === "done" ? resolve() : reject(new Error(body))), reject);
    });
    sent.on("error", reject);
    sent.end();
  });
  return performance.now() - began;
}
