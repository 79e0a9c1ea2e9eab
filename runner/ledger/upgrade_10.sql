-- From version 9: files that lie in a store.
CREATE TABLE archived (
    sha256 TEXT NOT NULL,
    store TEXT NOT NULL,
    key TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    archived_at REAL NOT NULL,
    PRIMARY KEY (sha256, store)
) STRICT, WITHOUT ROWID;
