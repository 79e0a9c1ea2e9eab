-- From version 7: a path that holds a take may be given to another request.
CREATE TABLE claims (
    path TEXT PRIMARY KEY,
    identity TEXT NOT NULL REFERENCES tasks (identity)
) STRICT, WITHOUT ROWID;
-- the newest submit under each path: SQLite takes the other columns from the row of the maximum
INSERT INTO claims SELECT output, identity FROM
    (SELECT output, identity, max(seq) FROM tasks JOIN attempts USING (identity) GROUP BY output);
