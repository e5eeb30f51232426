-- Archives that people brought along, each taken apart into documents by a Workflow. `problem` says why one was not.
CREATE TABLE imports (
  id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  files INTEGER,
  imported INTEGER NOT NULL DEFAULT 0,
  left_out INTEGER NOT NULL DEFAULT 0,
  problem TEXT,
  created_at INTEGER NOT NULL,
  ended_at INTEGER
) STRICT;

CREATE INDEX imports_newest_first ON imports (user_id, created_at DESC);

ALTER TABLE documents ADD COLUMN import_id TEXT;
CREATE INDEX documents_of_import ON documents (import_id) WHERE import_id IS NOT NULL;
