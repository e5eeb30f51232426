import { runWriter } from "#db/writer-thread.ts";
import { r2Schema } from "#products/r2/writes.ts";

/** The writer thread of a database file: every product's tables and changes, of which a file names the ones it holds. */
runWriter([r2Schema]);
