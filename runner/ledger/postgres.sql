-- The ledger in PostgreSQL: the tables, columns and rules of schema.sql and spends.sql, which say what each is
-- for. Texts are compared byte by byte, as SQLite does, so that an order is the same in both.
CREATE TABLE meta (
    key text COLLATE "C" PRIMARY KEY,
    value text COLLATE "C" NOT NULL
);

CREATE TABLE writers (               -- one row for each process that has the ledger open for writing
    id text COLLATE "C" PRIMARY KEY,
    batch text COLLATE "C" NOT NULL  -- its newest transaction: tells whether a COMMIT without an answer was made
);

CREATE TABLE leases (                -- who drives a lane; a heartbeat raises `counter`, a new driver `fence`
    lane text COLLATE "C" PRIMARY KEY,   -- provider, origin and salted hash of the key
    ledger_id text COLLATE "C" NOT NULL,
    fence bigint NOT NULL,
    counter bigint NOT NULL,
    is_free bigint NOT NULL,         -- 1: the last driver has signed off
    account text COLLATE "C" NOT NULL,   -- what its driver calls it
    provider text COLLATE "C" NOT NULL,
    origin text COLLATE "C" NOT NULL,
    key_hash text COLLATE "C" NOT NULL,
    host text COLLATE "C" NOT NULL,
    process bigint NOT NULL,
    command text COLLATE "C" NOT NULL,
    since double precision NOT NULL, -- Unix seconds, by the driver's clock
    lock text COLLATE "C" NOT NULL   -- which its driver holds until its end; empty where that would prove nothing
);

CREATE TABLE runs (
    id text COLLATE "C" PRIMARY KEY,
    job_file text COLLATE "C" NOT NULL,
    job_name text COLLATE "C" NOT NULL,
    job_digest text COLLATE "C" NOT NULL,
    edition text COLLATE "C" NOT NULL,
    run_date text COLLATE "C" NOT NULL,
    provider text COLLATE "C" NOT NULL,
    origin text COLLATE "C" NOT NULL,
    started_at double precision NOT NULL,
    finished_at double precision
);
CREATE INDEX runs_unfinished ON runs (job_file, edition) WHERE finished_at IS NULL;

CREATE TABLE sessions (
    run_id text COLLATE "C" NOT NULL REFERENCES runs (id),
    started_at double precision NOT NULL,
    ended_at double precision,
    facts text COLLATE "C" NOT NULL,
    exit_code bigint,
    rowid bigint PRIMARY KEY         -- SQLite's own name for it
);
CREATE INDEX sessions_run ON sessions (run_id);

CREATE TABLE tasks (
    identity text COLLATE "C" PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    step text COLLATE "C" NOT NULL,
    job_file text COLLATE "C" NOT NULL,
    provider text COLLATE "C" NOT NULL,
    origin text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    seed bigint,
    sample bigint,
    edition text COLLATE "C" NOT NULL,
    cell text COLLATE "C" NOT NULL,
    request text COLLATE "C" NOT NULL,
    output text COLLATE "C" NOT NULL
);
CREATE INDEX tasks_output ON tasks (output);

CREATE TABLE attempts (
    seq bigint PRIMARY KEY,
    id text COLLATE "C" NOT NULL UNIQUE,
    identity text COLLATE "C" NOT NULL REFERENCES tasks (identity),
    run_id text COLLATE "C" NOT NULL REFERENCES runs (id),
    reason text COLLATE "C" NOT NULL,
    origin text COLLATE "C" NOT NULL,
    key_hash text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    seed bigint,
    tag bigint,
    body_sha256 text COLLATE "C" NOT NULL,
    server_time double precision NOT NULL,
    intended_at double precision NOT NULL,
    state text COLLATE "C" NOT NULL,
    verdict text COLLATE "C",
    evidence text COLLATE "C",
    resolution text COLLATE "C",
    resolution_evidence text COLLATE "C",
    remote_id text COLLATE "C",
    accepted_at double precision,
    echoed_tag bigint,
    echoed_seed bigint,
    echoed_input bigint,
    generation text COLLATE "C",
    error_code text COLLATE "C" NOT NULL DEFAULT '',
    error_message text COLLATE "C" NOT NULL DEFAULT '',
    price text COLLATE "C",
    taken text COLLATE "C",
    estimate_micros bigint,
    cost_micros bigint,
    account text COLLATE "C" NOT NULL DEFAULT '',
    labels text COLLATE "C" NOT NULL DEFAULT '{}',
    handle text COLLATE "C" NOT NULL DEFAULT '{}',
    day text COLLATE "C" NOT NULL DEFAULT '',
    month text COLLATE "C" NOT NULL GENERATED ALWAYS AS (substr(day, 1, 7)) STORED,
    decision bigint NOT NULL DEFAULT 0
);
CREATE INDEX attempts_identity ON attempts (identity, seq);
CREATE INDEX attempts_run ON attempts (run_id);
CREATE UNIQUE INDEX attempts_remote_id ON attempts (origin, remote_id) WHERE remote_id IS NOT NULL;
CREATE INDEX attempts_open ON attempts (state, seq) WHERE state <> 'done';
CREATE INDEX attempts_lane ON attempts (origin, key_hash, model, seq) WHERE remote_id IS NOT NULL;
CREATE INDEX attempts_accepted ON attempts (origin, key_hash, server_time) WHERE remote_id IS NOT NULL;
-- One decision pays once, whatever two machines think: what the service turned out to have late, and what is
-- done, were paid by an earlier POST of the same decision, or are over.
CREATE UNIQUE INDEX attempts_decision ON attempts (identity, decision)
    WHERE state IN ('intended', 'submitted', 'ambiguous', 'held', 'collecting')
        AND (resolution IS NULL OR resolution <> 'found');
CREATE INDEX attempts_tags ON attempts (origin, tag) WHERE tag IS NOT NULL
    AND (state IN ('intended', 'ambiguous', 'held', 'written_off')
        OR resolution IN ('again', 'absent', 'confirmed', 'not_billed'));
CREATE INDEX attempts_unsent ON attempts (origin, tag)
    WHERE state = 'planned' AND resolution IS NULL AND tag IS NOT NULL;
CREATE INDEX attempts_given_up ON attempts (origin) WHERE remote_id IS NULL
    AND (state IN ('intended', 'ambiguous', 'held', 'written_off')
        OR resolution IN ('again', 'absent', 'confirmed', 'not_billed'));

CREATE TABLE history (
    attempt_id text COLLATE "C" NOT NULL REFERENCES attempts (id),
    at double precision NOT NULL,
    state text COLLATE "C",
    status text COLLATE "C",
    rowid bigint PRIMARY KEY
);
CREATE INDEX history_attempt ON history (attempt_id);

CREATE TABLE claims (
    path text COLLATE "C" PRIMARY KEY,
    identity text COLLATE "C" NOT NULL REFERENCES tasks (identity)
);

CREATE TABLE outputs (
    seq bigint PRIMARY KEY,
    path text COLLATE "C" NOT NULL,
    identity text COLLATE "C" NOT NULL REFERENCES tasks (identity),
    attempt_id text COLLATE "C" NOT NULL REFERENCES attempts (id),
    kind text COLLATE "C" NOT NULL,
    ordinal bigint NOT NULL,
    bytes bigint NOT NULL,
    sha256 text COLLATE "C" NOT NULL,
    media text COLLATE "C" NOT NULL,
    created_at double precision NOT NULL
);
CREATE INDEX outputs_path ON outputs (path, seq);
CREATE INDEX outputs_identity ON outputs (identity);
CREATE INDEX outputs_sha256 ON outputs (sha256);

CREATE TABLE archived (
    sha256 text COLLATE "C" NOT NULL,
    store text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    bytes bigint NOT NULL,
    archived_at double precision NOT NULL,
    PRIMARY KEY (sha256, store)
);

CREATE TABLE spends (
    span text COLLATE "C" NOT NULL,
    account text COLLATE "C" NOT NULL,
    labels text COLLATE "C" NOT NULL,
    tasks bigint NOT NULL,
    micros bigint NOT NULL,
    unknown bigint NOT NULL,
    PRIMARY KEY (span, account, labels)
);

-- The next number is one more than the largest, as SQLite's is: writers come one after the other, and `find`
-- gives an old attempt a new number. A sequence would give that number away once more.
CREATE FUNCTION next_session() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN RETURN (SELECT coalesce(max(rowid), 0) + 1 FROM sessions); END $$;
CREATE FUNCTION next_attempt() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN RETURN (SELECT coalesce(max(seq), 0) + 1 FROM attempts); END $$;
CREATE FUNCTION next_change() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN RETURN (SELECT coalesce(max(rowid), 0) + 1 FROM history); END $$;
CREATE FUNCTION next_output() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN RETURN (SELECT coalesce(max(seq), 0) + 1 FROM outputs); END $$;
ALTER TABLE sessions ALTER COLUMN rowid SET DEFAULT next_session();
ALTER TABLE attempts ALTER COLUMN seq SET DEFAULT next_attempt();
ALTER TABLE history ALTER COLUMN rowid SET DEFAULT next_change();
ALTER TABLE outputs ALTER COLUMN seq SET DEFAULT next_output();

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION USING MESSAGE = TG_ARGV[0], ERRCODE = 'integrity_constraint_violation'; END $$;

CREATE TRIGGER attempts_are_kept BEFORE DELETE ON attempts
    FOR EACH ROW EXECUTE FUNCTION refuse('attempts are never deleted');
CREATE TRIGGER attempts_are_kept_whole BEFORE TRUNCATE ON attempts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('attempts are never deleted');

CREATE TRIGGER terminal_stays BEFORE UPDATE OF state ON attempts FOR EACH ROW
    WHEN (NEW.state <> OLD.state AND (OLD.state IN ('done', 'failed')
        OR OLD.state IN ('expired', 'written_off') AND NEW.state <> 'submitted'))
    EXECUTE FUNCTION refuse('a terminal state never changes');

CREATE TRIGGER remote_id_stays BEFORE UPDATE OF remote_id ON attempts FOR EACH ROW
    WHEN (OLD.remote_id IS NOT NULL AND NEW.remote_id IS DISTINCT FROM OLD.remote_id)
    EXECUTE FUNCTION refuse('a remote id never changes');

CREATE FUNCTION may_be_billed(state text, verdict text, resolution text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce((state <> 'planned' OR resolution IN ('again', 'absent'))
        AND NOT (state = 'failed' AND verdict = 'rejected'), false)
$$;

CREATE FUNCTION keep_spends() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND may_be_billed(OLD.state, OLD.verdict, OLD.resolution) THEN
        UPDATE spends SET tasks = tasks - 1,
            micros = micros - coalesce(OLD.cost_micros, OLD.estimate_micros, 0),
            unknown = unknown - (coalesce(OLD.cost_micros, OLD.estimate_micros) IS NULL)::int
        WHERE span IN (OLD.run_id, OLD.day, OLD.month) AND account = OLD.account AND labels = OLD.labels;
    END IF;
    IF may_be_billed(NEW.state, NEW.verdict, NEW.resolution) THEN
        INSERT INTO spends
        SELECT span, NEW.account, NEW.labels, 1, coalesce(NEW.cost_micros, NEW.estimate_micros, 0),
            (coalesce(NEW.cost_micros, NEW.estimate_micros) IS NULL)::int
        FROM (VALUES (NEW.run_id), (NEW.day), (NEW.month)) AS spans (span)
        ON CONFLICT (span, account, labels) DO UPDATE SET tasks = spends.tasks + 1,
            micros = spends.micros + excluded.micros, unknown = spends.unknown + excluded.unknown;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER spends_are_kept
AFTER INSERT OR UPDATE OF run_id, account, labels, day, state, verdict, resolution, cost_micros, estimate_micros
ON attempts FOR EACH ROW EXECUTE FUNCTION keep_spends();
