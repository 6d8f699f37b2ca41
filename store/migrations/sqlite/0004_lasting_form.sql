-- Two cases under one request id are two comparisons. A comparison says why it was made (`trigger`: sampled, edge_mark,
-- edge_copy, forced), which salt made its pseudonym, and keeps as `details` what a newer program has written of it. All
-- three are NULL in rows of older programs, which may go on writing beside newer ones.
DROP VIEW ltr_shadow_log;
CREATE TABLE ltr_shadow_requests (
    id            INTEGER PRIMARY KEY,
    request_id    TEXT NOT NULL,
    ts_utc        TEXT NOT NULL,
    case_id       TEXT NOT NULL,
    model_version TEXT NOT NULL,
    outcome       TEXT NOT NULL,
    score_us      INTEGER CHECK (score_us >= 0),
    -- Pseudonymous; absent where there were no lawyers to compare.
    user_id       TEXT,
    -- NULL: the request's id is the comparison's, as it was while requests had one case.
    comparison_id TEXT,
    "trigger"     TEXT,
    salt_id       TEXT,
    details       TEXT,
    UNIQUE (request_id, case_id)
);
INSERT INTO ltr_shadow_requests
    SELECT id, request_id, ts_utc, case_id, model_version, outcome, score_us, user_id, NULL, NULL, NULL, NULL
    FROM ltr_shadow_request;
DROP TABLE ltr_shadow_request;
ALTER TABLE ltr_shadow_requests RENAME TO ltr_shadow_request;
CREATE INDEX ltr_shadow_request_model ON ltr_shadow_request (model_version, ts_utc);
CREATE INDEX ltr_shadow_request_case ON ltr_shadow_request (case_id, ts_utc);

-- A row's id is its comparison's with the rank as the third group.
CREATE VIEW ltr_shadow_log AS
    SELECT substr(coalesce(r.comparison_id, r.request_id), 1, 14) || printf('%04x', l.rank_legacy)
               || substr(coalesce(r.comparison_id, r.request_id), 19) AS shadow_id,
           r.ts_utc, r.case_id, r.user_id, l.lawyer_id, l.rank_legacy, l.rank_ltr, l.label, r.request_id,
           r.model_version, l.fair_legacy, l.fair_ltr, l."groups", r."trigger", r.salt_id
    FROM ltr_shadow_request r JOIN ltr_shadow_row l ON l.request = r.id;
CREATE TRIGGER ltr_shadow_log_label INSTEAD OF UPDATE OF label ON ltr_shadow_log BEGIN
    UPDATE ltr_shadow_row SET label = NEW.label
    WHERE request = (SELECT id FROM ltr_shadow_request WHERE request_id = OLD.request_id AND case_id = OLD.case_id)
      AND rank_legacy = OLD.rank_legacy;
END;

-- What all programs on this database must agree on.
CREATE TABLE ltr_agreed (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
