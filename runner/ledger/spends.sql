-- What each run, day and month may have been billed, kept by triggers: caps are checked at every intent, and
-- adding up 100,000 attempts takes long. Possibly billed is what `_POSSIBLY_BILLED` in spending.py says.
CREATE TABLE spends (
    span TEXT NOT NULL,              -- a run's id, a day, or a month
    account TEXT NOT NULL,
    labels TEXT NOT NULL,
    tasks INTEGER NOT NULL,
    micros INTEGER NOT NULL,         -- millionths of a US dollar: the cost where known, else the estimate
    unknown INTEGER NOT NULL,        -- how many of the tasks have neither
    PRIMARY KEY (span, account, labels)
) STRICT, WITHOUT ROWID;

INSERT INTO spends
SELECT value, attempts.account, attempts.labels, count(*),
    sum(coalesce(attempts.cost_micros, attempts.estimate_micros, 0)),
    sum((coalesce(attempts.cost_micros, attempts.estimate_micros) IS NULL))
FROM attempts, json_each(json_array(attempts.run_id, attempts.day, attempts.month))
WHERE coalesce((attempts.state <> 'planned' OR attempts.resolution IN ('again', 'absent'))
    AND NOT (attempts.state = 'failed' AND attempts.verdict = 'rejected'), 0)
GROUP BY 1, 2, 3;

CREATE TRIGGER spend_begins AFTER INSERT ON attempts
WHEN coalesce((NEW.state <> 'planned' OR NEW.resolution IN ('again', 'absent'))
    AND NOT (NEW.state = 'failed' AND NEW.verdict = 'rejected'), 0)
BEGIN
    INSERT INTO spends
    SELECT value, NEW.account, NEW.labels, 1, coalesce(NEW.cost_micros, NEW.estimate_micros, 0),
        (coalesce(NEW.cost_micros, NEW.estimate_micros) IS NULL)
    FROM json_each(json_array(NEW.run_id, NEW.day, NEW.month)) WHERE true
    ON CONFLICT (span, account, labels) DO UPDATE SET
        tasks = tasks + 1, micros = micros + excluded.micros, unknown = unknown + excluded.unknown;
END;

CREATE TRIGGER spend_is_taken_back
AFTER UPDATE OF run_id, account, labels, day, state, verdict, resolution, cost_micros, estimate_micros ON attempts
WHEN coalesce((OLD.state <> 'planned' OR OLD.resolution IN ('again', 'absent'))
    AND NOT (OLD.state = 'failed' AND OLD.verdict = 'rejected'), 0)
BEGIN
    UPDATE spends SET tasks = tasks - 1, micros = micros - coalesce(OLD.cost_micros, OLD.estimate_micros, 0),
        unknown = unknown - (coalesce(OLD.cost_micros, OLD.estimate_micros) IS NULL)
    WHERE span IN (OLD.run_id, OLD.day, OLD.month) AND account = OLD.account AND labels = OLD.labels;
END;

CREATE TRIGGER spend_is_added
AFTER UPDATE OF run_id, account, labels, day, state, verdict, resolution, cost_micros, estimate_micros ON attempts
WHEN coalesce((NEW.state <> 'planned' OR NEW.resolution IN ('again', 'absent'))
    AND NOT (NEW.state = 'failed' AND NEW.verdict = 'rejected'), 0)
BEGIN
    INSERT INTO spends
    SELECT value, NEW.account, NEW.labels, 1, coalesce(NEW.cost_micros, NEW.estimate_micros, 0),
        (coalesce(NEW.cost_micros, NEW.estimate_micros) IS NULL)
    FROM json_each(json_array(NEW.run_id, NEW.day, NEW.month)) WHERE true
    ON CONFLICT (span, account, labels) DO UPDATE SET
        tasks = tasks + 1, micros = micros + excluded.micros, unknown = unknown + excluded.unknown;
END;
