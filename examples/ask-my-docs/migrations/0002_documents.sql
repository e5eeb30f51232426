-- What people uploaded. The bytes are in R2, under user_id/id.
CREATE TABLE documents (
  id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  type TEXT NOT NULL,
  size INTEGER NOT NULL,
  uploaded_at INTEGER NOT NULL
) STRICT;

CREATE INDEX documents_newest_first ON documents (user_id, uploaded_at DESC);
