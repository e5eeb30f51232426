-- What was asked of the models, for what part of the product. The gateway's log knows what it cost; once it has told, that
-- stands here as well: `settled` is 1 then, and a cost of NULL means that nobody knows the model's price.
CREATE TABLE questions (
  log_id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  feature TEXT NOT NULL,
  asked_at INTEGER NOT NULL,
  settled INTEGER NOT NULL DEFAULT 0,
  cached INTEGER NOT NULL DEFAULT 0,
  tokens INTEGER NOT NULL DEFAULT 0,
  cost REAL
) STRICT;

CREATE INDEX questions_of_a_user ON questions (user_id, asked_at);
