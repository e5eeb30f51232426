/**
 * `cloudflare-internal:email`, which workerd's `cloudflare:email` takes its class from and does not bring along: libraries import
 * it whether or not mail is sent. There is nothing yet to send one with.
 */
class EmailMessage {
  readonly from: string;
  readonly to: string;
  constructor(from: string, to: string, _raw: ReadableStream | string) {
    this.from = from;
    this.to = to;
  }
}

export default { EmailMessage };
