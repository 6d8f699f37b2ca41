-- What the rows of a comparison have in common is kept once, with its request; a row is what a ranking says of one lawyer.
-- Both are written in the order of their keys, at the end of their trees: a comparison of a hundred lawyers is one page or
-- two, instead of seven pages anywhere. Rows are only written with their request, so that nothing need look it up for each.
CREATE TABLE ltr_shadow_requests (
    id            INTEGER PRIMARY KEY,
    request_id    TEXT NOT NULL UNIQUE,
    ts_utc        TEXT NOT NULL,
    case_id       TEXT NOT NULL,
    model_version TEXT NOT NULL,
    outcome       TEXT NOT NULL,
    score_us      INTEGER CHECK (score_us >= 0),
    -- Pseudonymous; absent where there were no lawyers to compare.
    user_id       TEXT
);
INSERT INTO ltr_shadow_requests (request_id, ts_utc, case_id, model_version, outcome, score_us, user_id)
    SELECT r.request_id, r.ts_utc, r.case_id, r.model_version, r.outcome, r.score_us,
           (SELECT l.user_id FROM ltr_shadow_log l WHERE l.request_id = r.request_id LIMIT 1)
    FROM ltr_shadow_request r;

CREATE TABLE ltr_shadow_row (
    request     INTEGER NOT NULL,
    rank_legacy INTEGER NOT NULL CHECK (rank_legacy >= 1),
    rank_ltr    INTEGER CHECK (rank_ltr >= 1),
    lawyer_id   TEXT NOT NULL,
    label       REAL CHECK (label BETWEEN 0 AND 1),
    fair_legacy REAL NOT NULL,
    fair_ltr    REAL,
    "groups"    TEXT NOT NULL,
    PRIMARY KEY (request, rank_legacy)
) WITHOUT ROWID;
INSERT INTO ltr_shadow_row
    SELECT r.id, l.rank_legacy, l.rank_ltr, l.lawyer_id, l.label, l.fair_legacy, l.fair_ltr, l."groups"
    FROM ltr_shadow_log l JOIN ltr_shadow_requests r ON r.request_id = l.request_id;

DROP TABLE ltr_shadow_log;
DROP TABLE ltr_shadow_request;
ALTER TABLE ltr_shadow_requests RENAME TO ltr_shadow_request;
CREATE INDEX ltr_shadow_request_model ON ltr_shadow_request (model_version, ts_utc);
CREATE INDEX ltr_shadow_request_case ON ltr_shadow_request (case_id, ts_utc);

-- The log as it is read, and its labels as they are filled in. A row's id is its request's with the rank as
-- the third group.
CREATE VIEW ltr_shadow_log AS
    SELECT substr(r.request_id, 1, 14) || printf('%04x', l.rank_legacy) || substr(r.request_id, 19) AS shadow_id,
           r.ts_utc, r.case_id, r.user_id, l.lawyer_id, l.rank_legacy, l.rank_ltr, l.label, r.request_id,
           r.model_version, l.fair_legacy, l.fair_ltr, l."groups"
    FROM ltr_shadow_request r JOIN ltr_shadow_row l ON l.request = r.id;
CREATE TRIGGER ltr_shadow_log_label INSTEAD OF UPDATE OF label ON ltr_shadow_log BEGIN
    UPDATE ltr_shadow_row SET label = NEW.label
    WHERE request = (SELECT id FROM ltr_shadow_request WHERE request_id = OLD.request_id)
      AND rank_legacy = OLD.rank_legacy;
END;

-- Events are found by time, and impressions by case: of the others, the most by far, the case need not be found.
DROP INDEX match_events_time;
DROP INDEX match_events_case;
CREATE INDEX match_events_time ON match_events (ts_utc);
CREATE INDEX match_events_shown ON match_events (case_id) WHERE event = 'impression';
