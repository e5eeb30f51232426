import { defineConfig } from "vitest/config";

/** A busy machine may fail a test once: it is tried again, and the closing lines name it. */
const shared = { environment: "node", globalSetup: ["test/support/build-once.ts"], retry: 1 };

/** Faults whose tests need the machine to themselves: they count what fails under a steady load, or how long something takes. */
const alone = ["deploys", "ingresses", "kills", "runaways", "scaling", "slow-disk"].map(
  (name) => `test/fault/${name}.test.ts`,
);

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
          exclude: alone,
          testTimeout: 300_000,
        },
      },
      { test: { ...shared, name: "fault-alone", include: alone, testTimeout: 300_000, maxWorkers: 1 } },
      { test: { ...shared, name: "ui", include: ["test/ui/**/*.test.ts"], testTimeout: 120_000 } },
    ],
  },
});
