-- The first impression of each case, which says who was shown, with which features, and where. A case belongs to its day.
SELECT
    f.event_id,
    f.case_id,
    f.source,
    f.lawyers,
    f.ts_utc,
    f.ts_us,
    f.ts_us + p.longest_us <= p.as_of_us AS mature
FROM (
    SELECT k.*, ROW_NUMBER() OVER (PARTITION BY k.case_id ORDER BY k.ts_us, k.event_id) AS place
    FROM kept k
) f
CROSS JOIN parameters p
WHERE f.place = 1 AND f.ts_us >= p.day_start_us AND f.ts_us < p.day_end_us
