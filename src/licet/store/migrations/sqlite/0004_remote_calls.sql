-- expand
-- Calls that somebody else executes belong to the ledger and to no process: `holder` is then 0, and `deadline` the UTC microsecond after
-- which nobody waits for their end any more.
ALTER TABLE open_calls ADD COLUMN deadline INTEGER;

CREATE INDEX open_calls_due ON open_calls (deadline) WHERE deadline IS NOT NULL;

-- Which migrations this ledger has seen since it has this table: what a program that does not know one of them needs to be told.
CREATE TABLE migrations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('expand', 'contract')),
    applied_at INTEGER NOT NULL
) STRICT;
