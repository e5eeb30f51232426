import add from "./add.wasm";
import text from "./note.txt";
import data from "./bytes.bin";
import config from "./config.json";
import { shout } from "./lib/shout.js";

const instance = await WebAssembly.instantiate(add);

export default {
  async fetch() {
    return Response.json({
      sum: instance.exports.add(40, 2),
      text,
      data: [...new Uint8Array(data)],
      config,
      shout: shout("lib"),
    });
  },
};
