/** What a sealed secret belongs to: sealing and opening name the same place, so a secret cannot be moved to another. */
export function secretContext(accountId: string, workerId: string, name: string): string {
  return `secret/${accountId}/${workerId}/${name}`;
}
