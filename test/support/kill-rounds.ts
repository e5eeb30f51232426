/** How often a test kills what it tests: `usual`, or as often as the variable KILL_ROUNDS says, for long runs. */
export function killRounds(usual: number): number {
  return Number(process.env["KILL_ROUNDS"] ?? usual);
}
