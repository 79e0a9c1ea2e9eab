-- Who drives a lane of a shared ledger. A driver's heartbeat raises `counter`, a new driver raises `fence`.
CREATE TABLE leases (
    lane TEXT PRIMARY KEY,           -- provider, origin and salted hash of the key
    ledger_id TEXT NOT NULL,
    fence BIGINT NOT NULL,
    counter BIGINT NOT NULL,
    is_free BIGINT NOT NULL,         -- 1: the last driver has signed off
    account TEXT NOT NULL,           -- what its driver calls it
    provider TEXT NOT NULL,
    origin TEXT NOT NULL,
    key_hash TEXT NOT NULL,
    host TEXT NOT NULL,
    process BIGINT NOT NULL,
    command TEXT NOT NULL,
    since DOUBLE PRECISION NOT NULL  -- Unix seconds, by the driver's clock
);
