-- From version 9: files that lie in a store, by whose decision an attempt was made, and indexes for what runs
-- ask of a large ledger.
CREATE TABLE archived (
    sha256 TEXT NOT NULL,
    store TEXT NOT NULL,
    key TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    archived_at REAL NOT NULL,
    PRIMARY KEY (sha256, store)
) STRICT, WITHOUT ROWID;
ALTER TABLE attempts ADD COLUMN decision INTEGER NOT NULL DEFAULT 0;
-- which ones shared a decision is no longer known; none is open beside another of its task
UPDATE attempts SET decision = (SELECT count(*) FROM attempts AS earlier
    WHERE earlier.identity = attempts.identity AND earlier.seq < attempts.seq);
DROP INDEX IF EXISTS attempts_open;
CREATE INDEX attempts_open ON attempts (state, seq) WHERE state <> 'done';
CREATE INDEX attempts_lane ON attempts (origin, key_hash, model, seq) WHERE remote_id IS NOT NULL;
CREATE INDEX attempts_accepted ON attempts (origin, key_hash, server_time) WHERE remote_id IS NOT NULL;
