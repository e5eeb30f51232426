import { runHasher } from "#products/r2/hash-thread.ts";

/** A thread that makes the checksums of uploads. */
runHasher();
