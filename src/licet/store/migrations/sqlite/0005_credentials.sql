-- expand
-- Credentials: projections of `admin` records in the log `operator` (store/credentials.py). Of a secret there is only its SHA-256.
CREATE TABLE credentials (
    id TEXT PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    content BLOB NOT NULL, -- JSON: whom it speaks for
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    ends_at INTEGER, -- when it was revoked, or replaced by its successor
    last_used_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX records_of_admin ON records (place) WHERE kind = 'admin'; -- what the rows of `credentials` are held against
