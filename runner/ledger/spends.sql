-- What each run may have been billed, kept by triggers: a cap is checked at every intent, and adding up
-- 100,000 attempts takes long. Possibly billed is what `_POSSIBLY_BILLED` in spending.py says.
CREATE TABLE IF NOT EXISTS spends (
    run_id TEXT PRIMARY KEY REFERENCES runs (id),
    tasks INTEGER NOT NULL,
    micros INTEGER NOT NULL,         -- millionths of a US dollar: the cost where known, else the estimate
    unknown INTEGER NOT NULL         -- how many of the tasks have neither
) STRICT, WITHOUT ROWID;

INSERT OR REPLACE INTO spends
SELECT run_id, count(*), sum(coalesce(attempts.cost_micros, attempts.estimate_micros, 0)),
    sum((coalesce(attempts.cost_micros, attempts.estimate_micros) IS NULL))
FROM attempts WHERE coalesce((attempts.state <> 'planned' OR attempts.resolution IN ('again', 'absent'))
    AND NOT (attempts.state = 'failed' AND attempts.verdict = 'rejected'), 0)
GROUP BY run_id;

CREATE TRIGGER IF NOT EXISTS spend_begins AFTER INSERT ON attempts
WHEN coalesce((NEW.state <> 'planned' OR NEW.resolution IN ('again', 'absent'))
    AND NOT (NEW.state = 'failed' AND NEW.verdict = 'rejected'), 0)
BEGIN
    INSERT INTO spends VALUES (NEW.run_id, 1, coalesce(NEW.cost_micros, NEW.estimate_micros, 0),
        (coalesce(NEW.cost_micros, NEW.estimate_micros) IS NULL))
    ON CONFLICT (run_id) DO UPDATE SET
        tasks = tasks + 1, micros = micros + excluded.micros, unknown = unknown + excluded.unknown;
END;

CREATE TRIGGER IF NOT EXISTS spend_is_taken_back
AFTER UPDATE OF run_id, state, verdict, resolution, cost_micros, estimate_micros ON attempts
WHEN coalesce((OLD.state <> 'planned' OR OLD.resolution IN ('again', 'absent'))
    AND NOT (OLD.state = 'failed' AND OLD.verdict = 'rejected'), 0)
BEGIN
    UPDATE spends SET tasks = tasks - 1, micros = micros - coalesce(OLD.cost_micros, OLD.estimate_micros, 0),
        unknown = unknown - (coalesce(OLD.cost_micros, OLD.estimate_micros) IS NULL)
    WHERE run_id = OLD.run_id;
END;

CREATE TRIGGER IF NOT EXISTS spend_is_added
AFTER UPDATE OF run_id, state, verdict, resolution, cost_micros, estimate_micros ON attempts
WHEN coalesce((NEW.state <> 'planned' OR NEW.resolution IN ('again', 'absent'))
    AND NOT (NEW.state = 'failed' AND NEW.verdict = 'rejected'), 0)
BEGIN
    INSERT INTO spends VALUES (NEW.run_id, 1, coalesce(NEW.cost_micros, NEW.estimate_micros, 0),
        (coalesce(NEW.cost_micros, NEW.estimate_micros) IS NULL))
    ON CONFLICT (run_id) DO UPDATE SET
        tasks = tasks + 1, micros = micros + excluded.micros, unknown = unknown + excluded.unknown;
END;
