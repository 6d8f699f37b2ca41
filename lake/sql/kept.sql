-- The impressions of the day's cases that count. A case that the gateway ranked has no others than the gateway's:
-- what a client says was shown counts only where nobody else can know.
SELECT event_id, case_id, user_id, salt_id, request_id, source, lawyers, ts_utc, ts_us
FROM (
    SELECT
        i.*,
        MAX(CASE WHEN i.origin = 'gateway' THEN 1 ELSE 0 END) OVER (PARTITION BY i.case_id) AS by_gateway
    FROM impressions i
    CROSS JOIN parameters p
    WHERE i.ts_us < p.as_of_us
        AND i.case_id IN (
            SELECT d.case_id
            FROM impressions d
            CROSS JOIN parameters q
            WHERE d.ts_us >= q.day_start_us AND d.ts_us < q.day_end_us
        )
) seen
WHERE by_gateway = 0 OR origin = 'gateway'
