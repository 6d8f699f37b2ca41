-- The day's cases: those whose first impression is of the day. Their labels can change until closed_us from then on.
SELECT
    f.event_id,
    f.case_id,
    f.ts_utc,
    f.ts_us,
    f.ts_us + p.closed_us <= p.as_of_us AS mature
FROM (
    SELECT k.*, ROW_NUMBER() OVER (PARTITION BY k.case_id ORDER BY k.ts_us, k.event_id) AS place
    FROM kept k
) f
CROSS JOIN parameters p
WHERE f.place = 1 AND f.ts_us >= p.day_start_us AND f.ts_us < p.day_end_us
