-- The rows of a comparison, a hundred to a request, in one tree in the order of their ids, which begin as the request's
-- does: a row is two insertions instead of four. An id follows from request and lawyer, so that it keeps both unique, and
-- rows are written with their request. A case's rows are found by its requests.
CREATE TABLE ltr_shadow_rows (
    shadow_id     TEXT NOT NULL PRIMARY KEY,
    ts_utc        TEXT NOT NULL,
    case_id       TEXT NOT NULL,
    user_id       TEXT NOT NULL,
    lawyer_id     TEXT NOT NULL,
    rank_legacy   INTEGER NOT NULL CHECK (rank_legacy >= 1),
    rank_ltr      INTEGER CHECK (rank_ltr >= 1),
    label         REAL CHECK (label BETWEEN 0 AND 1),
    request_id    TEXT NOT NULL,
    model_version TEXT NOT NULL,
    fair_legacy   REAL NOT NULL,
    fair_ltr      REAL,
    "groups"      TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO ltr_shadow_rows SELECT * FROM ltr_shadow_log;
DROP TABLE ltr_shadow_log;
ALTER TABLE ltr_shadow_rows RENAME TO ltr_shadow_log;
CREATE INDEX ltr_shadow_log_request ON ltr_shadow_log (request_id);
