-- The release record of a fleet. Programs of the previous version go on with ltr_rollout, which mirrors it.
-- States, entries, reports and evidence are JSON, kept as TEXT so that they come back byte for byte. All instants are the
-- server's.

-- The state on record: no row before the first commit, one row after.
CREATE TABLE ltr_release (
    id      SMALLINT PRIMARY KEY CHECK (id = 1),
    version BIGINT NOT NULL CHECK (version >= 1),
    state   TEXT NOT NULL,
    -- Hash of the ledger's last entry.
    head    TEXT NOT NULL
);

-- One entry per version, never changed. `command` is the id of the operator's command.
CREATE TABLE ltr_ledger (
    seq     BIGINT PRIMARY KEY CHECK (seq >= 1),
    entry   TEXT NOT NULL,
    hash    TEXT NOT NULL,
    command UUID UNIQUE
);
CREATE FUNCTION ltr_ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'ltr_ledger is append-only';
END
$$;
CREATE TRIGGER ltr_ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ltr_ledger
    FOR EACH STATEMENT EXECUTE FUNCTION ltr_ledger_refuse();

-- A lease is held while now < until <= now + ttl. The second part fails when the clock was set back.
CREATE TABLE ltr_lease (
    name   TEXT PRIMARY KEY,
    holder UUID NOT NULL,
    epoch  BIGINT NOT NULL,
    until  TIMESTAMPTZ NOT NULL,
    ttl    INTERVAL NOT NULL
);

-- The latest report of each gateway.
CREATE TABLE ltr_gateway (
    id      UUID PRIMARY KEY,
    name    TEXT NOT NULL,
    seen_at TIMESTAMPTZ NOT NULL,
    report  TEXT NOT NULL
);

-- Effects that were not delivered yet. After a failed attempt at `tried_at` the next is due at `due_at`.
CREATE TABLE ltr_outbox (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seq         BIGINT NOT NULL REFERENCES ltr_ledger (seq),
    destination TEXT NOT NULL,
    body        TEXT NOT NULL,
    made_at     TIMESTAMPTZ NOT NULL,
    attempts    BIGINT NOT NULL DEFAULT 0,
    tried_at    TIMESTAMPTZ,
    due_at      TIMESTAMPTZ,
    last_error  TEXT
);
CREATE INDEX ltr_outbox_destination ON ltr_outbox (destination, id);

-- The evidence on each model, as the lease holder computed it.
CREATE TABLE ltr_evidence (
    model_version TEXT PRIMARY KEY,
    evidence      TEXT NOT NULL
);

-- `evidence` counts what was saved in ltr_evidence, `labels` the runs that changed labels.
CREATE TABLE ltr_counter (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
