import { afterAll, beforeAll, describe } from "vitest";
import { pullContract } from "#products/queues/pull.contract.ts";
import { pushContract } from "#products/queues/push.contract.ts";
import { queuesContract } from "#products/queues/queues.contract.ts";
import { sendContract } from "#products/queues/send.contract.ts";
import { QueueSuite, type OpenedQueues } from "#products/queues/suite.contract.ts";

/** What every QueueStore does. `open` makes an empty one whose clock is `now`, in milliseconds. */
export function queueStoreContract(name: string, open: (now: () => number) => Promise<OpenedQueues>): void {
  describe(name, () => {
    const queues = new QueueSuite();
    beforeAll(async () => queues.open(open));
    afterAll(async () => queues.close());
    queues.freshForEachTest();

    queuesContract(queues);
    sendContract(queues);
    pushContract(queues);
    pullContract(queues);
  });
}
