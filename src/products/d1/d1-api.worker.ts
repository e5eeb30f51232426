/** The module of workerd that makes a D1 binding. Not a public interface: `binding.test.ts` runs against the pinned workerd. */
declare module "cloudflare-internal:d1-api" {
  /** `fetcher` is asked as `cloudflare-internal:d1-api` asks it: with the text of an address, and headers and body apart. */
  export default function makeBinding(env: {
    fetcher: {
      fetch(url: string, init: { method: string; headers: Headers; body?: string }): Promise<Response>;
    };
  }): unknown;
}
