-- expand
-- The schema of a ledger as it first was for others than its makers; versions 1 and 2 never left them. See store/sqlite.py for the rules.
--
-- place = log number << 40 | index. A record's primary key says which log it is in and where: two writers that think they are at
-- the same end of a log collide here, whatever else goes wrong.

-- `secrets` counts how often a secret was destroyed: whoever sealed under an earlier count seals anew. `origin` names the head log, whose
-- tree `head_size` and `head_range` are.
CREATE TABLE ledger (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    secrets INTEGER NOT NULL,
    origin TEXT NOT NULL,
    head_size INTEGER NOT NULL,
    head_range BLOB NOT NULL
) STRICT;

INSERT INTO ledger (one, secrets, origin, head_size, head_range) VALUES (1, 0, 'licet.invalid/' || lower(hex(randomblob(16))), 0, x'');

-- The head log: each entry is the root of one log at one moment (ledger/checkpoint.py).
CREATE TABLE heads (
    number INTEGER PRIMARY KEY,
    log TEXT NOT NULL,
    size INTEGER NOT NULL,
    entry BLOB NOT NULL,
    UNIQUE (log, size)
) STRICT;

-- Full tiles of the head log (C2SP tlog-tiles): what proofs about it are made from.
CREATE TABLE head_tiles (
    level INTEGER NOT NULL,
    number INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    UNIQUE (level, number)
) STRICT;

-- Signed notes of the head log, with what witnesses have added to them.
CREATE TABLE checkpoints (
    size INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    note BLOB NOT NULL
) STRICT;

-- The keys that sign checkpoints, the last one now; each but the first with the note by which the one before handed over.
CREATE TABLE signing_keys (
    number INTEGER PRIMARY KEY,
    vkey TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL,
    wrapped BLOB NOT NULL,
    endorsement BLOB
) STRICT;

-- The secret of each person, target and log, wrapped by the key-encryption key `key`: see ledger/vault.py.
CREATE TABLE secrets (
    pseudonym TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    lookup BLOB NOT NULL UNIQUE,
    key TEXT NOT NULL,
    wrapped BLOB NOT NULL
) STRICT;

CREATE INDEX secrets_by_tenant ON secrets (tenant);

CREATE TABLE boots (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    started_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'closed', 'dead'))
) STRICT;

CREATE TABLE logs (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    compact_range BLOB NOT NULL
) STRICT;

CREATE TABLE records (
    place INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    call TEXT,
    request TEXT, -- the approval request that the record opened, voted on, ended or used up
    envelope BLOB NOT NULL,
    leaf BLOB NOT NULL -- the envelope's leaf hash: tells which record was changed when the tree says only that one was
) STRICT;

CREATE INDEX records_by_call ON records (call) WHERE call IS NOT NULL;
CREATE INDEX records_by_request ON records (request) WHERE request IS NOT NULL;
CREATE INDEX records_of_freezes ON records (place) WHERE kind = 'freeze'; -- what the rows of `freezes` are held against

CREATE TABLE payloads (
    place INTEGER PRIMARY KEY,
    sealed BLOB
) STRICT;

CREATE TABLE open_calls (
    call TEXT PRIMARY KEY,
    log TEXT NOT NULL,
    boot INTEGER NOT NULL, -- the boot that appended the intent
    holder INTEGER NOT NULL -- the boot that must close it: another one after a recovery
) STRICT, WITHOUT ROWID;

-- Calls that ended without anybody seeing how, until a record says it (store/unsettled.py).
CREATE TABLE unsettled (
    call TEXT PRIMARY KEY,
    log TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What these rows are found by are blinds: nobody reads an idempotency key or a caller from them.
CREATE TABLE keys (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    digest TEXT NOT NULL,
    call TEXT NOT NULL,
    log TEXT NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

-- What a request and a vote say stands in their records, and nowhere else. `key` and `person` are blinds.
CREATE TABLE requests (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL,
    tenant TEXT NOT NULL,
    state TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    plan TEXT, -- the plan whose step it is
    asker TEXT NOT NULL, -- a blind of the caller
    call TEXT -- the call that moved it last
) STRICT;

CREATE UNIQUE INDEX requests_live ON requests (key) WHERE state IN ('open', 'approved');
CREATE INDEX requests_by_key ON requests (key, number);
CREATE INDEX requests_by_state ON requests (state, expires_at);
CREATE INDEX requests_by_plan ON requests (plan, number) WHERE plan IS NOT NULL;
CREATE INDEX requests_by_asker ON requests (asker, expires_at) WHERE state IN ('open', 'withdrawn', 'superseded');
CREATE INDEX requests_waiting ON requests (expires_at, number) WHERE state IN ('open', 'approved');

-- One row for each vote record of a request, in their order. `live` is 1 for a vote that stands; one that was taken back, and the record
-- that took it back, have 0.
CREATE TABLE votes (
    number INTEGER PRIMARY KEY,
    request TEXT NOT NULL,
    person TEXT NOT NULL,
    live INTEGER NOT NULL DEFAULT 1
) STRICT;

CREATE INDEX votes_by_request ON votes (request, number);
CREATE UNIQUE INDEX votes_live ON votes (request, person) WHERE live = 1;

CREATE TABLE blobs (
    number INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    content BLOB NOT NULL
) STRICT;

-- Legal holds that stand: projections of their records. `target` is Type::pseudonym; none for everything in the log.
CREATE TABLE holds (
    id TEXT PRIMARY KEY,
    log TEXT NOT NULL,
    target TEXT,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Freezes that stand: projections of their records (store/freezes.py). Those in the log `operator` are of every tenant.
CREATE TABLE freezes (
    id TEXT PRIMARY KEY,
    log TEXT NOT NULL,
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who was erased, by pseudonym: projections of their records. None of them has a row in `secrets`.
CREATE TABLE erasures (
    pseudonym TEXT PRIMARY KEY,
    log TEXT NOT NULL,
    target TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Key-encryption keys that were replaced: nothing new is wrapped under them.
CREATE TABLE retired_keys (
    key TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- What happened to requests, to be told (store/outbox.py): operational rows, no records. `spread` is 1 once there are deliveries of it.
CREATE TABLE notices (
    number INTEGER PRIMARY KEY,
    request TEXT NOT NULL,
    tenant TEXT NOT NULL,
    event TEXT NOT NULL,
    at INTEGER NOT NULL,
    spread INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX notices_new ON notices (number) WHERE spread = 0;

-- A notice on its way through one channel. `subject` is its request, or the plan of which that is a step.
CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY,
    notice INTEGER NOT NULL,
    channel TEXT NOT NULL,
    subject TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'failed', 'skipped')),
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at INTEGER NOT NULL,
    done_at INTEGER,
    error TEXT,
    handle TEXT,
    UNIQUE (notice, channel)
) STRICT;

CREATE INDEX deliveries_by_subject ON deliveries (channel, subject, number);
CREATE INDEX deliveries_waiting ON deliveries (channel, due_at) WHERE state = 'waiting';

-- The boot that delivers, and when it said so last.
CREATE TABLE deliverer (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    boot TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
