-- From version 8: an attempt knows its account and that one's labels, and the day that it belongs to.
DROP TRIGGER IF EXISTS spend_begins;
DROP TRIGGER IF EXISTS spend_is_taken_back;
DROP TRIGGER IF EXISTS spend_is_added;
DROP TABLE IF EXISTS spends;
ALTER TABLE attempts ADD COLUMN account TEXT NOT NULL DEFAULT '';
ALTER TABLE attempts ADD COLUMN labels TEXT NOT NULL DEFAULT '{}';
ALTER TABLE attempts ADD COLUMN handle TEXT NOT NULL DEFAULT '{}';
ALTER TABLE attempts ADD COLUMN day TEXT NOT NULL DEFAULT '';
ALTER TABLE attempts ADD COLUMN month TEXT NOT NULL GENERATED ALWAYS AS (substr(day, 1, 7)) VIRTUAL;
UPDATE attempts SET day = day_of(intended_at),
    account = (SELECT provider FROM tasks WHERE tasks.identity = attempts.identity);
ALTER TABLE attempts ADD COLUMN echoed_input INTEGER;
CREATE INDEX attempts_given_up ON attempts (origin) WHERE remote_id IS NULL
    AND (state IN ('intended', 'ambiguous', 'held', 'written_off')
        OR resolution IN ('again', 'absent', 'confirmed', 'not_billed'));
