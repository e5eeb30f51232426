import { createLogger } from "#core/log.ts";

createLogger("main").info("nothing to run yet");
