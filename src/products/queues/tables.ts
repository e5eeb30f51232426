/**
 * `queue_messages` is read by its time (`visible_at`), which is also what a lease or a delay moves; that rewrites the row, so
 * larger bodies have one of their own. Counts stand with the generation: a purge gives the queue a new one, and the messages of
 * the old one are nobody's at once.
 */
export const queueTables = `
  CREATE TABLE queue_generations (
    num INTEGER PRIMARY KEY AUTOINCREMENT,
    dropped INTEGER NOT NULL DEFAULT 0,
    backlog_count INTEGER NOT NULL DEFAULT 0,
    backlog_bytes INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE TABLE queues (
    id TEXT PRIMARY KEY,
    num INTEGER NOT NULL UNIQUE REFERENCES queue_generations (num),
    account_id TEXT NOT NULL,
    name TEXT NOT NULL,
    settings TEXT NOT NULL,
    created_on TEXT NOT NULL,
    modified_on TEXT NOT NULL,
    purged_on TEXT,
    UNIQUE (account_id, name)
  ) STRICT;
  CREATE TABLE queue_consumers (
    id TEXT PRIMARY KEY,
    queue_id TEXT NOT NULL REFERENCES queues (id) ON DELETE CASCADE,
    type TEXT NOT NULL,
    script TEXT,
    dead_letter_queue TEXT,
    settings TEXT NOT NULL,
    created_on TEXT NOT NULL,
    UNIQUE (queue_id, type)
  ) STRICT;
  CREATE TABLE queue_messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue INTEGER NOT NULL,
    visible_at INTEGER NOT NULL,
    arrived_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    lease TEXT,
    uid TEXT NOT NULL,
    sent_at INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    size INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    body BLOB
  ) STRICT;
  CREATE INDEX queue_messages_ready ON queue_messages (queue, visible_at);
  CREATE INDEX queue_messages_arrival ON queue_messages (queue);
  CREATE UNIQUE INDEX queue_messages_lease ON queue_messages (lease) WHERE lease IS NOT NULL;
  CREATE TABLE queue_bodies (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;`;
