-- The ledger. One row in `attempts` is one intent to POST; rows are never deleted, an id once
-- known never changes, and a terminal state is final but for what the service turns out to have after
-- all: the triggers hold that even against us.
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    job_file TEXT NOT NULL,          -- relative to the root
    job_name TEXT NOT NULL,
    job_digest TEXT NOT NULL,        -- sha256 of the job file as run
    edition TEXT NOT NULL,
    run_date TEXT NOT NULL,          -- frozen when the run starts, kept by every resume
    provider TEXT NOT NULL,
    origin TEXT NOT NULL,
    started_at REAL NOT NULL,        -- Unix seconds, our wall clock
    finished_at REAL                 -- null: `run` continues it
) STRICT;
CREATE INDEX runs_unfinished ON runs (job_file, edition) WHERE finished_at IS NULL;

CREATE TABLE sessions (              -- one process that worked on a run
    run_id TEXT NOT NULL REFERENCES runs (id),
    started_at REAL NOT NULL,
    ended_at REAL,
    facts TEXT NOT NULL,             -- JSON: command line, versions, commit
    exit_code INTEGER
) STRICT;
CREATE INDEX sessions_run ON sessions (run_id);

CREATE TABLE tasks (                 -- what was asked for, by identity
    identity TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    step TEXT NOT NULL,
    job_file TEXT NOT NULL,
    provider TEXT NOT NULL,
    origin TEXT NOT NULL,
    model TEXT NOT NULL,
    seed INTEGER,
    sample INTEGER,
    edition TEXT NOT NULL,
    cell TEXT NOT NULL,              -- JSON
    request TEXT NOT NULL,           -- JSON, local files as digests
    output TEXT NOT NULL             -- relative to the base directory
) STRICT, WITHOUT ROWID;
CREATE INDEX tasks_output ON tasks (output);

CREATE TABLE attempts (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,         -- random: a counter would be used twice after a power cut
    identity TEXT NOT NULL REFERENCES tasks (identity),
    run_id TEXT NOT NULL REFERENCES runs (id),
    reason TEXT NOT NULL,            -- run | retry | again | reconcile
    origin TEXT NOT NULL,
    key_hash TEXT NOT NULL,          -- salted
    model TEXT NOT NULL,
    seed INTEGER,
    tag INTEGER,                     -- null: the job sets the field itself, or there is none
    body_sha256 TEXT NOT NULL,
    server_time REAL NOT NULL,       -- at the intent, by the service's Date header
    intended_at REAL NOT NULL,
    state TEXT NOT NULL,
    verdict TEXT,
    evidence TEXT,                   -- JSON
    resolution TEXT,                 -- of an unclear attempt: `Resolution` in states.py
    resolution_evidence TEXT,        -- JSON
    remote_id TEXT,
    accepted_at REAL,
    echoed_tag INTEGER,              -- what came back in the tag's field; null: nothing did. Another value
                                     -- than was sent stays: it says that tags cannot be believed
    echoed_seed INTEGER,             -- the same of the seed
    echoed_input INTEGER,            -- 1: the input came back as it was sent; 0, which stays: it did not
    generation TEXT,                 -- JSON: status, echo, usage, times as last seen
    error_code TEXT NOT NULL DEFAULT '',
    error_message TEXT NOT NULL DEFAULT '',
    price TEXT,                      -- JSON: what the estimate is reckoned with; null: none known
    taken TEXT,                      -- JSON: what of the upstream task went into the request
    estimate_micros INTEGER,         -- millionths of a US dollar; null: unknown, which is not zero
    cost_micros INTEGER,             -- the service's word; else its usage times the price
    account TEXT NOT NULL DEFAULT '',
    labels TEXT NOT NULL DEFAULT '{}',   -- JSON: the account's; keys are sorted
    handle TEXT NOT NULL DEFAULT '{}',   -- JSON: what a GET needs beside the id; its URLs are secrets
    day TEXT NOT NULL DEFAULT '',    -- of the last intent in the project's zone: 2026-11-27
    month TEXT NOT NULL GENERATED ALWAYS AS (substr(day, 1, 7)) VIRTUAL,
    decision INTEGER NOT NULL DEFAULT 0  -- of a person, for this task: the first run, a retry, one more take
) STRICT;
CREATE INDEX attempts_identity ON attempts (identity, seq);
CREATE INDEX attempts_run ON attempts (run_id);
CREATE UNIQUE INDEX attempts_remote_id ON attempts (origin, remote_id) WHERE remote_id IS NOT NULL;
-- what is under way or in doubt is asked for by every run; nearly all attempts are done
CREATE INDEX attempts_open ON attempts (state, seq) WHERE state <> 'done';
-- what a lane's list has to show, looked for when a submit is unclear: the newest of a model, and the newest
CREATE INDEX attempts_lane ON attempts (origin, key_hash, model, seq) WHERE remote_id IS NOT NULL;
CREATE INDEX attempts_accepted ON attempts (origin, key_hash, server_time) WHERE remote_id IS NOT NULL;
-- a new intent asks for the tags of unresolved ones: it must not read every attempt for that
CREATE INDEX attempts_tags ON attempts (origin, tag) WHERE tag IS NOT NULL
    AND (state IN ('intended', 'ambiguous', 'held', 'written_off')
        OR resolution IN ('again', 'absent', 'confirmed', 'not_billed'));
-- and of those that wait to be posted once more under their own tag
CREATE INDEX attempts_unsent ON attempts (origin, tag)
    WHERE state = 'planned' AND resolution IS NULL AND tag IS NOT NULL;
-- where tasks are told by their input, what was given up is looked for by that
CREATE INDEX attempts_given_up ON attempts (origin) WHERE remote_id IS NULL
    AND (state IN ('intended', 'ambiguous', 'held', 'written_off')
        OR resolution IN ('again', 'absent', 'confirmed', 'not_billed'));

CREATE TABLE history (
    attempt_id TEXT NOT NULL REFERENCES attempts (id),
    at REAL NOT NULL,
    state TEXT,                      -- ours, or
    status TEXT                      -- the service's own word
) STRICT;
CREATE INDEX history_attempt ON history (attempt_id);

CREATE TABLE claims (               -- whose video a path is for, by the newest decision
    path TEXT PRIMARY KEY,           -- relative to the base directory
    identity TEXT NOT NULL REFERENCES tasks (identity)
) STRICT, WITHOUT ROWID;

CREATE TABLE outputs (              -- a published file; the newest row of a path says whose it is
    seq INTEGER PRIMARY KEY,
    path TEXT NOT NULL,              -- relative to the base directory
    identity TEXT NOT NULL REFERENCES tasks (identity),
    attempt_id TEXT NOT NULL REFERENCES attempts (id),
    kind TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    media TEXT NOT NULL,             -- JSON
    created_at REAL NOT NULL
) STRICT;
CREATE INDEX outputs_path ON outputs (path, seq);
CREATE INDEX outputs_identity ON outputs (identity);
CREATE INDEX outputs_sha256 ON outputs (sha256);

CREATE TABLE archived (             -- a file that lies complete in a store
    sha256 TEXT NOT NULL,
    store TEXT NOT NULL,             -- as callsheet.yaml names it
    key TEXT NOT NULL,               -- below the store
    bytes INTEGER NOT NULL,
    archived_at REAL NOT NULL,
    PRIMARY KEY (sha256, store)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER attempts_are_kept BEFORE DELETE ON attempts
BEGIN SELECT RAISE(ABORT, 'attempts are never deleted'); END;

CREATE TRIGGER terminal_stays BEFORE UPDATE OF state ON attempts
WHEN NEW.state <> OLD.state AND (OLD.state IN ('done', 'failed')
    OR OLD.state IN ('expired', 'written_off') AND NEW.state <> 'submitted')
BEGIN SELECT RAISE(ABORT, 'a terminal state never changes'); END;

CREATE TRIGGER remote_id_stays BEFORE UPDATE OF remote_id ON attempts
WHEN OLD.remote_id IS NOT NULL AND NEW.remote_id IS NOT OLD.remote_id
BEGIN SELECT RAISE(ABORT, 'a remote id never changes'); END;
