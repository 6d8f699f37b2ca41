-- Outcomes of what was displayed, by closed day in UTC (`YYYY-MM-DD`), as JSON. A day is counted once: whoever decides by it
-- decides by the same numbers for ever.
CREATE TABLE ltr_outcome_day (
    day    TEXT PRIMARY KEY CHECK (day IS date(day)),
    counts TEXT NOT NULL
) WITHOUT ROWID;
