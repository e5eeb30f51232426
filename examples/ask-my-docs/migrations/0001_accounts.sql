CREATE TABLE users (
  id TEXT PRIMARY KEY,
  email TEXT NOT NULL UNIQUE,
  password TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

-- One row for each email and address that somebody is trying, gone after a quarter of an hour.
CREATE TABLE sign_in_attempts (
  who TEXT PRIMARY KEY,
  attempts INTEGER NOT NULL,
  since INTEGER NOT NULL
) STRICT;
