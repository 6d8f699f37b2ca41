-- Two cases under one request id are two comparisons. A comparison says why it was made (`trigger`: sampled, edge_mark,
-- edge_copy, forced), which salt made its pseudonym, and keeps as `details` what a newer program has written of it. All
-- three are NULL in rows of older programs, which may go on writing beside newer ones.
ALTER TABLE ltr_shadow_log
    DROP CONSTRAINT ltr_shadow_log_request_id_fkey,
    DROP CONSTRAINT ltr_shadow_log_request_id_lawyer_id_key;
ALTER TABLE ltr_shadow_request
    DROP CONSTRAINT ltr_shadow_request_pkey,
    ADD PRIMARY KEY (request_id, case_id),
    ADD COLUMN "trigger" TEXT,
    ADD COLUMN salt_id UUID,
    ADD COLUMN details JSON;
-- A ranking has each lawyer once, so that the row's own key keeps rows apart; this finds them.
CREATE INDEX ltr_shadow_log_request ON ltr_shadow_log (request_id, lawyer_id);
ALTER TABLE ltr_shadow_log
    ADD FOREIGN KEY (request_id, case_id) REFERENCES ltr_shadow_request (request_id, case_id);

-- What all programs on this database must agree on.
CREATE TABLE ltr_agreed (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
