import { defineConfig } from "vitest/config";

const shared = { environment: "node", globalSetup: ["test/support/build-once.ts"] };

export default defineConfig({
  test: {
    reporters: ["default", "./test/support/closing-line.ts"],
    // A test that hangs is a failure with a name, not a CI run that is cut off.
    testTimeout: 20_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    projects: [
      { test: { ...shared, name: "unit", include: ["src/**/*.test.ts", "test/*.test.ts"] } },
      {
        test: {
          ...shared,
          name: "conformance",
          include: ["test/conformance/**/*.test.ts"],
          testTimeout: 120_000,
        },
      },
      {
        test: {
          ...shared,
          name: "fault",
          include: ["test/fault/**/*.test.ts"],
          testTimeout: 300_000,
          maxWorkers: 1,
        },
      },
      { test: { ...shared, name: "ui", include: ["test/ui/**/*.test.ts"], testTimeout: 120_000 } },
    ],
  },
});
