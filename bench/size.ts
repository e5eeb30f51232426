import { findChildren, readMemory } from "#runtime/proc.ts";
import { Solum } from "../test/support/start-solum.ts";
import { machine, spread } from "./support/figures.ts";

/** Memory of the idle platform by process, of a hello Worker, and the time `solum up` takes on an existing data folder. */
const starts = 5;
await using solum = await Solum.start();
const deployed = await solum.wrangler(solum.project("hello"), ["deploy"]);
if (deployed.code !== 0) throw new Error(deployed.output);
await solum.wrangler(solum.project("bindings"), ["deploy"]);

const readyMs: number[] = [];
for (let round = 0; round < starts; round++) {
  await solum.stop();
  const began = performance.now();
  await solum.up();
  readyMs.push(performance.now() - began);
}
await solum.request("hello.localhost");
await solum.request("bindings.localhost", "/kv?key=a");
await solum.request("bindings.localhost", "/d1");
// What starting left behind is collected when nothing happens.
await new Promise((resolve) => setTimeout(resolve, 10_000));

console.log(machine());
const processes = [
  { name: "supervisor", pid: solum.pid },
  ...findChildren(solum.runtime)
    .filter(({ facts }) => facts.pid !== solum.pid)
    .map(({ mark, facts }) => ({ name: mark.name.replace(/^front\/.*/, "front"), pid: facts.pid })),
];
let platform = 0;
for (const { name, pid } of processes) {
  const memory = readMemory(pid);
  if (!memory) continue;
  if (name !== "front") platform += memory.pssBytes;
  console.log(`${name.padEnd(12)} PSS ${megabytes(memory.pssBytes)}   private ${megabytes(memory.privateBytes)}`);
}
console.log(`platform without Workers: PSS ${megabytes(platform)}`);
console.log(`solum up on existing data, with the commands' own start: ${spread(readyMs, 0)} ms`);

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
