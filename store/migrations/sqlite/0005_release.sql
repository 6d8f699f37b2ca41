-- The release record of a fleet. Programs of the previous version go on with ltr_rollout, which mirrors it.
-- States, entries, reports and evidence are JSON as text. Instants and `ttl` are milliseconds (instants since 1970), because
-- SQL adds and compares them by the clock of the host. There are no CHECKs: a broken one would blame an event.

-- The state on record: no row before the first commit, one row (id 1) after.
CREATE TABLE ltr_release (
    id      INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    state   TEXT NOT NULL,
    -- Hash of the ledger's last entry.
    head    TEXT NOT NULL
);

-- One entry per version, never changed. `command` is the id of the operator's command.
CREATE TABLE ltr_ledger (
    seq     INTEGER PRIMARY KEY,
    entry   TEXT NOT NULL,
    hash    TEXT NOT NULL,
    command TEXT UNIQUE
);
CREATE TRIGGER ltr_ledger_no_update BEFORE UPDATE ON ltr_ledger BEGIN
    SELECT RAISE(ABORT, 'ltr_ledger is append-only');
END;
CREATE TRIGGER ltr_ledger_no_delete BEFORE DELETE ON ltr_ledger BEGIN
    SELECT RAISE(ABORT, 'ltr_ledger is append-only');
END;
-- INSERT OR REPLACE deletes without the trigger above.
CREATE TRIGGER ltr_ledger_no_replace BEFORE INSERT ON ltr_ledger
WHEN EXISTS (SELECT 1 FROM ltr_ledger WHERE seq = NEW.seq OR command = NEW.command) BEGIN
    SELECT RAISE(ABORT, 'ltr_ledger is append-only');
END;

-- A lease is held while now < until <= now + ttl. The second part fails when the clock was set back.
CREATE TABLE ltr_lease (
    name   TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    epoch  INTEGER NOT NULL,
    until  INTEGER NOT NULL,
    ttl    INTEGER NOT NULL
);

-- The latest report of each gateway.
CREATE TABLE ltr_gateway (
    id      TEXT NOT NULL PRIMARY KEY,
    name    TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    report  TEXT NOT NULL
);

-- Effects that were not delivered yet. After a failed attempt at `tried_at` the next is due at `due_at`.
CREATE TABLE ltr_outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    seq         INTEGER NOT NULL REFERENCES ltr_ledger (seq),
    destination TEXT NOT NULL,
    body        TEXT NOT NULL,
    made_at     INTEGER NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    tried_at    INTEGER,
    due_at      INTEGER,
    last_error  TEXT
);
CREATE INDEX ltr_outbox_destination ON ltr_outbox (destination, id);

-- The evidence on each model, as the lease holder computed it.
CREATE TABLE ltr_evidence (
    model_version TEXT NOT NULL PRIMARY KEY,
    evidence      TEXT NOT NULL
);

-- `evidence` counts what was saved in ltr_evidence, `labels` the runs that changed labels.
CREATE TABLE ltr_counter (
    name  TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
);
