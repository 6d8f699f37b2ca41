-- The impressions of the day's cases that count: those within the longest window of the case's first. A case that the
-- gateway ranked by then has no others than the gateway's: what a client says was shown counts only where nobody else
-- can know.
SELECT event_id, case_id, user_id, salt_id, request_id, source, lawyers, ts_utc, ts_us
FROM (
    SELECT
        i.*,
        MAX(CASE WHEN i.origin = 'gateway' THEN 1 ELSE 0 END) OVER (PARTITION BY i.case_id) AS by_gateway
    FROM (
        SELECT e.*, MIN(e.ts_us) OVER (PARTITION BY e.case_id) AS first_us
        FROM impressions e
        CROSS JOIN parameters p
        WHERE e.ts_us < p.as_of_us
            AND e.case_id IN (
                SELECT d.case_id
                FROM impressions d
                CROSS JOIN parameters q
                WHERE d.ts_us >= q.day_start_us AND d.ts_us < q.day_end_us
            )
    ) i
    CROSS JOIN parameters r
    WHERE i.ts_us < i.first_us + r.longest_us
) seen
WHERE by_gateway = 0 OR origin = 'gateway'
