CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT NOT NULL, note TEXT DEFAULT 'a;b');
CREATE TRIGGER items_named AFTER INSERT ON items BEGIN
  UPDATE items SET note = 'by trigger; yes' WHERE id = new.id AND name = 'trigger';
END;
