/** https://developers.cloudflare.com/api/resources/accounts/. Times are ISO texts. */
export type Account = { id: string; name: string; subdomain: string; createdOn: string };

export const limits = {
  /** Characters of the account's subdomain, a DNS label (RFC 1035 §2.3.4). */
  subdomainLength: 63,
} as const;

/** The one user there is until Access brings more. wrangler prints it in `whoami`. */
export const ownerEmail = "owner@localhost";
