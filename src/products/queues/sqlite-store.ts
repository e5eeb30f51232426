import { dirname } from "node:path";
import { crc32 } from "node:zlib";
import { lowSpace } from "#core/free-space.ts";
import { newHexId } from "#core/ids.ts";
import { exactBytes, openDatabase, type Database } from "#db/database.ts";
import { checkMessages } from "#products/queues/checks.ts";
import { Claims } from "#products/queues/claims.ts";
import { cleanUp } from "#products/queues/clean-up.ts";
import { queueErrors } from "#products/queues/errors.ts";
import { messageColumns, messageTables, readMetrics, toMessage } from "#products/queues/message-rows.ts";
import { queueRows, type QueueRows } from "#products/queues/queue-rows.ts";
import { limits, queueName } from "#products/queues/schema.ts";
import type { PushStore, QueueRef, QueueStore } from "#products/queues/store.ts";
import * as messageWrites from "#products/queues/writes-messages.ts";
import * as queueWrites from "#products/queues/writes-queues.ts";

type Opened = QueueStore & AsyncDisposable & { push: PushStore };

type Parts = {
  db: Database;
  rows: QueueRows;
  claims: Claims;
  now: () => number;
  /** Tells listeners; of one queue, or of which queues and consumers there are. */
  tell: (num: number | undefined) => void;
};

/** Opens the store of one installation; `file` is its database. */
export async function openQueueStore(options: {
  file: string;
  /** Milliseconds since 1970. */
  now?: () => number;
}): Promise<Opened> {
  const { file, now = Date.now } = options;
  const db = await openDatabase(file, ["queues"]);
  const stopping = new AbortController();
  const tidying = cleanUp({ db, now, signal: stopping.signal });
  const listeners: ((num: number | undefined) => void)[] = [];
  const rows = queueRows(db);
  const parts: Parts = {
    db,
    rows,
    now,
    claims: new Claims(db, now),
    tell: (num) => {
      for (const listener of listeners) listener(num);
    },
  };
  return {
    ...queueMethods(parts),
    ...consumerMethods(parts),
    ...handlingMethods(parts),
    ...messageMethods(parts, lowSpace(dirname(file), limits.reserveBytes)),
    push: pushStore(parts, (listener) => listeners.push(listener)),
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await tidying;
      await db.close();
    },
  };
}

function queueMethods({
  db,
  rows,
  now,
  tell,
}: Parts): Pick<QueueStore, "list" | "get" | "create" | "update" | "delete" | "purge" | "lastPurge"> {
  const isoNow = () => new Date(now()).toISOString();
  const checkName = (name: string) => {
    if (!queueName.test(name)) throw queueErrors.invalidName();
  };
  return {
    list: async (accountId, { names } = {}) => rows.list(accountId, names),
    get: async (accountId, id) => rows.get(accountId, id),
    async create(accountId, { name, settings }) {
      checkName(name);
      const id = newHexId();
      await db.write(queueWrites.createQueue, { accountId, id, name, settings, now: isoNow() });
      return rows.get(accountId, id);
    },
    async update(accountId, id, { name, settings }) {
      if (name !== undefined) checkName(name);
      await db.write(queueWrites.updateQueue, { accountId, id, name, settings, now: isoNow() });
      tell(undefined);
      return rows.get(accountId, id);
    },
    async delete(accountId, id) {
      await db.write(queueWrites.deleteQueue, { accountId, id });
      tell(undefined);
    },
    async purge(accountId, id) {
      await db.write(queueWrites.purgeQueue, { accountId, id, now: isoNow() });
      tell(undefined);
    },
    lastPurge: async (accountId, id) => rows.place(accountId, id).purgedOn,
  };
}

function consumerMethods({
  db,
  rows,
  now,
  tell,
}: Parts): Pick<QueueStore, "addConsumer" | "updateConsumer" | "removeConsumer" | "removeConsumersOf"> {
  const put = async (change: Omit<Parameters<typeof queueWrites.putConsumer.run>[1], "now">) => {
    await db.write(queueWrites.putConsumer, { ...change, now: new Date(now()).toISOString() });
    tell(undefined);
    const { consumers } = rows.get(change.accountId, change.queueId);
    const made = consumers.find(({ id }) => id === change.consumerId);
    if (!made) throw queueErrors.consumerNotFound();
    return made;
  };
  return {
    addConsumer: (accountId, queueId, consumer) =>
      put({ accountId, queueId, consumer, consumerId: newHexId(), replaces: false }),
    updateConsumer: (accountId, queueId, consumerId, consumer) =>
      put({ accountId, queueId, consumer, consumerId, replaces: true }),
    async removeConsumer(accountId, queueId, consumerId) {
      await db.write(queueWrites.removeConsumer, { accountId, queueId, consumerId });
      tell(undefined);
    },
    async removeConsumersOf(accountId, script) {
      await db.write(queueWrites.removeConsumersOf, { accountId, script });
      tell(undefined);
    },
  };
}

function messageMethods(
  { db, rows, claims, now, tell }: Parts,
  isLow: (bytes: number) => boolean,
): Pick<QueueStore, "send" | "metrics" | "pull" | "settle"> {
  const woken = (nums: readonly number[]) => {
    for (const num of nums) tell(num);
  };
  const keyOf = (queue: QueueRef) =>
    "boundQueueId" in queue
      ? { queueId: queue.boundQueueId, accountId: undefined }
      : { queueId: queue.queueId, accountId: queue.accountId };
  return {
    async send(queue, messages) {
      const bytes = checkMessages(messages);
      if (isLow(bytes)) throw queueErrors.storageFull();
      const { num, metrics } = await db.write(messageWrites.send, {
        key: keyOf(queue),
        now: now(),
        messages: messages.map(({ body, contentType, delaySeconds }) => ({
          uid: newHexId(),
          contentType,
          delaySeconds,
          body: exactBytes(body),
          crc: crc32(body),
        })),
      });
      tell(num);
      return metrics;
    },
    async metrics(queue) {
      return readMetrics(db, rows.numOf(keyOf(queue)));
    },
    async pull(accountId, queueId, options) {
      const { num, pull, paused, retentionMs } = rows.pulled(accountId, queueId);
      const { batch_size: batchSize, visibility_timeout_ms: usual } = pull.settings;
      const found = paused ? [] : claims.ready(num, options.batchSize ?? batchSize, retentionMs).map(({ row }) => row);
      if (found.length === 0) return { messages: [], metrics: readMetrics(db, num) };
      claims.claim(num, found);
      try {
        const visibilityMs = options.visibilityMs ?? usual;
        const rule = { maxRetries: pull.settings.max_retries, deadLetterQueue: pull.deadLetterQueue };
        const result = await db.write(messageWrites.lease, { num, rows: found, visibilityMs, rule, now: now() });
        woken(result.woken);
        const messages = result.leased.flatMap((row) => {
          const message = toMessage(row);
          return message ? [{ ...message, leaseId: String(row["lease"]) }] : [];
        });
        return { messages, metrics: readMetrics(db, num) };
      } finally {
        claims.release(num, found);
        // What was leased comes back by itself when nobody acknowledges it.
        tell(num);
      }
    },
    async settle(accountId, queueId, { acks, retries }) {
      const { num, pull } = rows.pulled(accountId, queueId);
      const { max_retries: maxRetries, retry_delay: usual } = pull.settings;
      const { woken: dead, ...result } = await db.write(messageWrites.settleLeases, {
        num,
        acks,
        retries: retries.map(({ leaseId, delaySeconds = usual }) => ({ leaseId, delaySeconds })),
        rule: { maxRetries, deadLetterQueue: pull.deadLetterQueue },
        now: now(),
      });
      woken([...dead, num]);
      return result;
    },
  };
}

/** For whoever looks after a queue. */
function handlingMethods({ db, rows, claims, now, tell }: Parts): Pick<QueueStore, "peek" | "remove" | "move"> {
  const next = db.prepare(
    `SELECT ${messageColumns} FROM ${messageTables} WHERE m.queue = ? ORDER BY m.visible_at, m.id LIMIT ?`,
  );
  return {
    async peek(accountId, queueId, batchSize) {
      return next.all(rows.place(accountId, queueId).num, batchSize).flatMap((row) => {
        const message = toMessage(row);
        return message ? [{ ...message, ref: `${Number(row["id"])}.${message.id}` }] : [];
      });
    },
    async move(accountId, queueId, to) {
      const { num } = rows.place(accountId, queueId);
      const target = rows.place(accountId, to.queueId).num;
      if (target === num) throw queueErrors.bodyInvalid("target_queue_id: is the queue itself");
      const found = claims
        .ready(num, Math.min(to.max, limits.movedAtOnce), rows.retentionMs(num))
        .map(({ row }) => row);
      claims.claim(num, found);
      try {
        const { count } = await db.write(messageWrites.move, { num, rows: found, to: target, now: now() });
        tell(target);
        return { moved: count };
      } finally {
        claims.release(num, found);
      }
    },
    async remove(accountId, queueId, refs) {
      const ids = refs.map((id) => {
        const [, row = "0", uid = ""] = /^(\d{1,15})\.([0-9a-f]{32})$/.exec(id) ?? [];
        return { row: Number(row), uid, id };
      });
      return db.write(messageWrites.removeByUid, { num: rows.place(accountId, queueId).num, ids });
    },
  };
}

function pushStore(
  { db, rows, claims, now, tell }: Parts,
  onChange: (listener: (num: number | undefined) => void) => void,
): PushStore {
  const whole = db.prepare(`SELECT ${messageColumns} FROM ${messageTables} WHERE m.id = ? AND m.queue = ?`);
  const upcoming = db.prepare(
    "SELECT visible_at FROM queue_messages WHERE queue = ? AND visible_at > ? ORDER BY visible_at LIMIT 1",
  );
  return {
    now,
    pushQueues: () => rows.pushQueues(),
    ready: (num, max) => claims.ready(num, max, rows.retentionMs(num)),
    nextVisibleAt(num) {
      const row = upcoming.get(num, now());
      return row && Number(row["visible_at"]);
    },
    claim: (num, found) => claims.claim(num, found),
    release: (num, found) => claims.release(num, found),
    read(num, found) {
      const damaged: number[] = [];
      const messages = found.flatMap((id) => {
        const row = whole.get(id, num);
        if (!row) return [];
        const message = toMessage(row);
        if (!message) damaged.push(id);
        return message ? [{ ...message, attempts: message.attempts + 1, row: id }] : [];
      });
      return { messages, damaged };
    },
    metricsOf: (num) => readMetrics(db, num),
    async finish(num, result) {
      for (const other of await db.write(messageWrites.finish, { num, ...result, now: now() })) tell(other);
    },
    onChange,
  };
}
