import type { Reporter, SerializedError, TestModule } from "vitest/node";

/**
 * Names the tests that passed at a second attempt, and prints the line that CI reads: `N passed, N failed, N skipped`.
 * A file that does not load and a stray error count as failures.
 */
export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly SerializedError[]): void {
    const count = { passed: 0, failed: errors.length, skipped: 0, pending: 0 };
    for (const module of modules) {
      for (const test of module.children.allTests()) count[test.result().state]++;
      count.failed += module.errors().length;
      for (const suite of module.children.allSuites()) count.failed += suite.errors().length;
    }
    const again = modules
      .flatMap((module) => [...module.children.allTests("passed")])
      .filter((test) => (test.diagnostic()?.retryCount ?? 0) > 0);
    for (const test of again)
      process.stdout.write(`\npassed at the second attempt only: ${test.module.relativeModuleId} > ${test.fullName}`);
    process.stdout.write(
      `\n${count.passed} passed, ${count.failed + count.pending} failed, ${count.skipped} skipped\n`,
    );
  }
}
