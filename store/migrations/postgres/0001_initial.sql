-- An instant is kept to the microsecond; an event's payload has it whole.

CREATE TABLE match_events (
    event_id   UUID PRIMARY KEY,
    ts_utc     TIMESTAMPTZ NOT NULL,
    event      TEXT NOT NULL CHECK (event IN ('impression', 'click_profile', 'contact_made', 'contract_signed')),
    case_id    UUID NOT NULL,
    user_id    UUID NOT NULL,
    lawyer_id  TEXT,
    rank_pos   BIGINT CHECK (rank_pos >= 1),
    request_id UUID,
    -- JSON and not JSONB: it is written often and read whole, and comes back as it was sent.
    payload    JSON NOT NULL
);
CREATE INDEX match_events_time ON match_events (ts_utc, event_id);
CREATE INDEX match_events_case ON match_events (case_id, event);

-- One row for each request that was scored in shadow, whether scoring worked or not.
CREATE TABLE ltr_shadow_request (
    request_id    UUID PRIMARY KEY,
    ts_utc        TIMESTAMPTZ NOT NULL,
    case_id       UUID NOT NULL,
    model_version TEXT NOT NULL,
    outcome       TEXT NOT NULL,
    score_us      BIGINT CHECK (score_us >= 0)
);
CREATE INDEX ltr_shadow_request_model ON ltr_shadow_request (model_version, ts_utc);
CREATE INDEX ltr_shadow_request_case ON ltr_shadow_request (case_id, ts_utc);

-- One row a lawyer of such a request: both rankings side by side, the label filled in later.
CREATE TABLE ltr_shadow_log (
    shadow_id     UUID PRIMARY KEY,
    ts_utc        TIMESTAMPTZ NOT NULL,
    case_id       UUID NOT NULL,
    user_id       UUID NOT NULL,
    lawyer_id     TEXT NOT NULL,
    rank_legacy   SMALLINT NOT NULL CHECK (rank_legacy >= 1),
    rank_ltr      SMALLINT CHECK (rank_ltr >= 1),
    label         REAL CHECK (label BETWEEN 0 AND 1),
    request_id    UUID NOT NULL REFERENCES ltr_shadow_request (request_id),
    model_version TEXT NOT NULL,
    fair_legacy   DOUBLE PRECISION NOT NULL,
    fair_ltr      DOUBLE PRECISION,
    "groups"      JSON NOT NULL,
    UNIQUE (request_id, lawyer_id)
);
CREATE INDEX ltr_shadow_log_case ON ltr_shadow_log (case_id, lawyer_id);

-- What serves: always exactly one row.
CREATE TABLE ltr_rollout (
    id         SMALLINT PRIMARY KEY CHECK (id = 1),
    weight     SMALLINT NOT NULL CHECK (weight BETWEEN 0 AND 100),
    champion   TEXT,
    challenger TEXT
);
INSERT INTO ltr_rollout (id, weight, champion, challenger) VALUES (1, 0, NULL, NULL);

CREATE TABLE ltr_rollout_history (
    id     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ts_utc TIMESTAMPTZ NOT NULL,
    action TEXT NOT NULL,
    actor  TEXT NOT NULL,
    detail JSON NOT NULL
);
