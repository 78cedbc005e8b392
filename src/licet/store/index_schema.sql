-- The SQLite schema of a search index. Written in one transaction; see store/index.py for the rules.
--
-- doc = microseconds << 11 | number among those of one microsecond: it grows with time, is unique, and is the rowid everywhere.
-- place = log number << 40 | index. Log numbers are the index's own. A table `text_N` for each shard is made when it is needed.

CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE logs (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    next INTEGER NOT NULL, -- the index of the record that is taken next
    at INTEGER NOT NULL, -- microseconds of the last one taken
    leaf BLOB NOT NULL, -- leaf hash of the last one taken: tells whether the ledger is still the one that was indexed
    edge BLOB NOT NULL -- the tiles that are not full yet, from the leaves up
) STRICT;

CREATE TABLE docs (
    doc INTEGER PRIMARY KEY,
    place INTEGER NOT NULL,
    verdict INTEGER NOT NULL -- 1 allow, 2 hold, 3 deny, 0 for records that decide nothing
) STRICT;

CREATE VIRTUAL TABLE terms USING fts5 (words, content = '', detail = none, columnsize = 0, tokenize = "ascii tokenchars '_'");

CREATE TABLE shards (
    number INTEGER PRIMARY KEY,
    start INTEGER NOT NULL UNIQUE, -- the first doc; the next shard's start ends it
    last INTEGER NOT NULL, -- the last doc that has a text
    size INTEGER NOT NULL -- texts put in
) STRICT;

CREATE TABLE forgotten (
    log INTEGER NOT NULL,
    pseudonym TEXT NOT NULL,
    done INTEGER NOT NULL, -- 0 until the bytes are gone
    PRIMARY KEY (log, pseudonym)
) STRICT, WITHOUT ROWID;

CREATE TABLE pruned (
    log INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    done INTEGER NOT NULL, -- as above
    PRIMARY KEY (log, first)
) STRICT, WITHOUT ROWID;

CREATE TABLE rollups (
    log INTEGER NOT NULL, -- 0 for all logs together
    by TEXT NOT NULL, -- tool, verdict or outcome
    hour INTEGER NOT NULL, -- since 1970
    value TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (log, by, hour, value)
) STRICT, WITHOUT ROWID;

CREATE TABLE tiles (
    log INTEGER NOT NULL,
    level INTEGER NOT NULL,
    n INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY (log, level, n)
) STRICT;
