import { runWriter } from "#db/writer-thread.ts";

/** The writer thread of a database file: every product's tables and changes, of which a file names the ones it holds. */
runWriter([]);
