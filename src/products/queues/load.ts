import { limits } from "#products/queues/schema.ts";

/** What all deliveries share: how many bytes of messages they hold in memory. */
export class Load {
  bytes = 0;
  get isFull(): boolean {
    return this.bytes >= limits.deliveringBytes;
  }
}
