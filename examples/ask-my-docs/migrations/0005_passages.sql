-- What a document of text says, in passages: a model is shown those that a question is about. A queue reads documents after
-- they were stored; until it has, `passages` is NULL.
ALTER TABLE documents ADD COLUMN passages INTEGER;

CREATE TABLE passages (
  number INTEGER PRIMARY KEY,
  document_id TEXT NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  text TEXT NOT NULL,
  UNIQUE (document_id, position)
) STRICT;

CREATE VIRTUAL TABLE passages_search USING fts5 (
  text,
  content = 'passages',
  content_rowid = 'number',
  tokenize = 'unicode61 remove_diacritics 2'
);

CREATE TRIGGER passages_inserted AFTER INSERT ON passages BEGIN
  INSERT INTO passages_search (rowid, text) VALUES (new.number, new.text);
END;

CREATE TRIGGER passages_deleted AFTER DELETE ON passages BEGIN
  INSERT INTO passages_search (passages_search, rowid, text) VALUES ('delete', old.number, old.text);
END;
