-- The search index follows notes by their number, so that is a column of its own and never changes.
CREATE TABLE notes (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  title TEXT NOT NULL,
  body TEXT NOT NULL,
  revision INTEGER NOT NULL DEFAULT 1,
  updated_at INTEGER NOT NULL
) STRICT;

CREATE INDEX notes_newest_first ON notes (user_id, updated_at DESC);

CREATE VIRTUAL TABLE notes_search USING fts5 (
  title,
  body,
  content = 'notes',
  content_rowid = 'number',
  tokenize = 'unicode61 remove_diacritics 2'
);

CREATE TRIGGER notes_inserted AFTER INSERT ON notes BEGIN
  INSERT INTO notes_search (rowid, title, body) VALUES (new.number, new.title, new.body);
END;

CREATE TRIGGER notes_deleted AFTER DELETE ON notes BEGIN
  INSERT INTO notes_search (notes_search, rowid, title, body) VALUES ('delete', old.number, old.title, old.body);
END;

CREATE TRIGGER notes_updated AFTER UPDATE OF title, body ON notes BEGIN
  INSERT INTO notes_search (notes_search, rowid, title, body) VALUES ('delete', old.number, old.title, old.body);
  INSERT INTO notes_search (rowid, title, body) VALUES (new.number, new.title, new.body);
END;
