import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { settingsPage } from "#config.ts";

/** Writes `docs/SETTINGS.md` from the schema; a test fails when the two differ. */
writeFileSync(join(import.meta.dirname, "..", "docs", "SETTINGS.md"), settingsPage());
