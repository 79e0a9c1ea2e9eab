-- From version 6: what was taken for absent still counts, and is still looked for.
ALTER TABLE attempts ADD COLUMN echoed_seed INTEGER;
DROP INDEX attempts_tags;
CREATE INDEX attempts_tags ON attempts (origin, tag) WHERE tag IS NOT NULL
    AND (state IN ('intended', 'ambiguous', 'held', 'written_off')
        OR resolution IN ('again', 'absent', 'confirmed', 'not_billed'));
DROP TRIGGER terminal_stays;
CREATE TRIGGER terminal_stays BEFORE UPDATE OF state ON attempts
WHEN NEW.state <> OLD.state AND (OLD.state IN ('done', 'failed')
    OR OLD.state IN ('expired', 'written_off') AND NEW.state <> 'submitted')
BEGIN SELECT RAISE(ABORT, 'a terminal state never changes'); END;
-- older than any service keeps a record: nothing can be looked up any more
UPDATE attempts SET resolution = 'confirmed'
    WHERE resolution = 'absent' AND intended_at < CAST(strftime('%s', 'now') AS REAL) - 604800;
DROP TRIGGER spend_begins;
DROP TRIGGER spend_is_taken_back;
DROP TRIGGER spend_is_added;
