import { describe, expect, test } from "vitest";
import { startupErrorMessage } from "#runtime/startup-error.ts";
import { runVersion } from "../../test/support/worker-version.ts";

type Options = Parameters<typeof runVersion>[0];

const main = (source: string): Options => ({ modules: [{ name: "index.js", source }] });
const script = (source: string): Options => ({
  format: "service-worker",
  exports: [],
  modules: [{ name: "sw.js", source }],
});

/** What the version's author is told, from what a real workerd wrote. */
async function messageOf(options: Options, more: Parameters<typeof runVersion>[1] = {}): Promise<string> {
  try {
    await using _worker = await runVersion(options, more);
    return "it started";
  } catch (error) {
    return startupErrorMessage((error as Error).message);
  }
}

describe("a version that does not start says why", () => {
  test.each<[string, Options, string]>([
    [
      "a syntax error",
      main("export default {\n  fetch() { return new Response( }\n}"),
      "Uncaught SyntaxError: Unexpected token '}'\n  at index.js:2:33",
    ],
    [
      "a syntax error in another module",
      {
        modules: [
          { name: "index.js", source: "import './lib/a.js'" },
          { name: "lib/a.js", source: "\n\nlet x = ;" },
        ],
      },
      "Uncaught SyntaxError: Unexpected token ';'\n  at lib/a.js:3:8",
    ],
    [
      "a throw at the top level",
      main(
        "function inner() { throw new RangeError('top level\\nsecond line') }\ninner();\nexport default { fetch() {} }",
      ),
      "Uncaught RangeError: top level\nsecond line\n  at index.js:1:26 in inner\n  at index.js:2:1",
    ],
    ["a thrown text", main("throw 'text'"), "Uncaught Error: text"],
    [
      "a name that is not there",
      main("const a = undefinedThing"),
      "Uncaught ReferenceError: undefinedThing is not defined\n  at index.js:1:11",
    ],
    [
      "a module that is not there",
      main("import x from './nope.js'"),
      'Uncaught Error: No such module "nope.js".\n  imported from "index.js"',
    ],
    [
      "an export that is not there",
      {
        modules: [
          { name: "index.js", source: "import { nope } from './b.js'; export default {}" },
          { name: "b.js", source: "export const a = {}" },
        ],
      },
      "Uncaught SyntaxError: The requested module './b.js' does not provide an export named 'nope'\n  at index.js:1:9",
    ],
    [
      "an await that never ends",
      main("await new Promise(() => {})"),
      "Uncaught Error: Top-level await in module is unsettled.",
    ],
    [
      "an await that fails",
      main("await Promise.reject(new TypeError('rejected'))"),
      "Uncaught TypeError: rejected\n  at index.js:1:22",
    ],
    [
      "bytes that are no WebAssembly",
      {
        modules: [
          { name: "index.js", source: "import w from './a.wasm'" },
          { name: "a.wasm", type: "wasm", source: Buffer.from([1, 2, 3, 4]) },
        ],
      },
      "Uncaught CompileError: WasmModuleObject::Compile(): expected magic word 00 61 73 6d, found 01 02 03 04 @+0",
    ],
    [
      "an unknown flag",
      { ...main("export default {}"), compatibilityFlags: ["no_such_flag"] },
      "No such compatibility flag: no_such_flag",
    ],
    [
      "contradictory flags",
      { ...main("export default {}"), compatibilityFlags: ["nodejs_als", "no_nodejs_als"] },
      "Compatibility flags are mutually contradictory: nodejs_als vs no_nodejs_als",
    ],
    [
      "a script that throws",
      script("addEventListener('fetch', () => {});\nthrow new Error('boom')"),
      "Uncaught Error: boom\n  at worker.js:2:7",
    ],
    [
      "a script with a syntax error",
      script("let x = ;"),
      "Uncaught SyntaxError: Unexpected token ';'\n  at worker.js:1:8",
    ],
    ["a script without handlers", script("1"), "No event handlers were registered. This script does nothing."],
    [
      "a throw, with notices beside it, under module URLs",
      {
        ...main("throw new Error('boom'); export default {}"),
        compatibilityFlags: ["new_module_registry", "nodejs_compat"],
      },
      "Uncaught Error: boom\n  at index.js:1:7",
    ],
  ])("%s", async (_name, options, message) => {
    expect(await messageOf(options)).toBe(message);
  });

  test("I/O outside of a handler", async () => {
    expect(await messageOf(main("await fetch('http://x/')"))).toMatch(
      /^Uncaught Error: Disallowed operation called within global scope\..*\n {2}at index.js:1:7$/,
    );
  });

  test("too much memory", async () => {
    const hungry = main("const all = []; for (;;) all.push(new Array(1000).fill(0).map(() => ({})))");
    expect(await messageOf(hungry, { v8Flags: ["--max-heap-size=32"] })).toBe(
      "The Worker used more memory than it may have while it started.",
    );
  });

  test("nothing at all", () => {
    expect(startupErrorMessage("")).toBe("The Worker could not be started, and workerd did not say why.");
  });
});
