-- Outcomes of what was displayed, by closed day in UTC, as JSON. A day is counted once: whoever decides by it decides by the
-- same numbers for ever.
CREATE TABLE ltr_outcome_day (
    day    DATE PRIMARY KEY,
    counts TEXT NOT NULL
);
