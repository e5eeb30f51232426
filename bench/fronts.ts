import { parseArgs } from "node:util";
import { giveAddress, uploadWorker } from "../test/support/direct-upload.ts";
import { Solum } from "../test/support/start-solum.ts";
import { machine, median, spread } from "./support/figures.ts";
import { runLoad } from "./support/load.ts";

/**
 * A handler of about 5 ms of CPU time with one process and with as many as the machine has cores: interleaved rounds.
 * `node bench/fronts.ts [--rounds 5] [--seconds 3] [--connections 16]`
 */
const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "3" },
    connections: { type: "string", default: "16" },
  },
});
const handlerMs = 5;
/** A fixed amount of work, so that other processes on the machine do not shorten it. */
const source = `
  const work = (rounds) => { let x = 1; for (let i = 0; i < rounds; i++) x = Math.imul(x ^ i, 2654435761); return x; };
  export default {
    fetch(request) {
      const rounds = Number(new URL(request.url).searchParams.get("rounds"));
      const began = performance.now();
      work(rounds);
      return new Response(String(performance.now() - began));
    },
  };`;

await using one = await Solum.start("--fronts-max", "1");
await using many = await Solum.start();
for (const solum of [one, many]) {
  await uploadWorker(solum, "work", source);
  await giveAddress(solum, "work");
}
const rounds = await calibrate();

const ratios: number[] = [];
const rates: { one: number[]; many: number[] } = { one: [], many: [] };
for (let round = 0; round < Number(values.rounds); round++) {
  const single = await measure(one);
  const several = await measure(many);
  rates.one.push(single);
  rates.many.push(several);
  ratios.push(several / single);
}
const processes = (await many.status()).fronts.length;
console.log(machine());
console.log(`a handler of ${handlerMs} ms, ${values.connections} connections, rounds of ${values.seconds} s`);
console.log(
  `one process ${median(rates.one).toFixed(0)} rps, ${processes} processes ${median(rates.many).toFixed(0)} rps`,
);
console.log(`ratio ${spread(ratios, 2)}`);

/** How many rounds of work take the handler's time when nobody disturbs it: the shortest of many counts. */
async function calibrate(): Promise<number> {
  const tried = 1_000_000;
  let shortest = Infinity;
  for (let attempt = 0; attempt < 40; attempt++)
    shortest = Math.min(shortest, Number((await one.request("work.localhost", `/?rounds=${tried}`)).text));
  return Math.round((tried * handlerMs) / shortest);
}

async function measure(solum: Solum): Promise<number> {
  const result = await runLoad({
    to: { port: solum.port },
    connections: Number(values.connections),
    seconds: Number(values.seconds),
    // Long enough for the second process to be there.
    warmupSeconds: 3,
    request: `GET /?rounds=${rounds} HTTP/1.1\r\nHost: work.localhost\r\n\r\n`,
  });
  if (result.failures > 0) console.log(`${result.failures} requests FAILED`);
  return result.requestsPerSecond;
}
