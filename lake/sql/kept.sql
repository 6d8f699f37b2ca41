-- The impressions of the day's cases that count. What a client says was shown counts only where nobody else can know: not
-- if the gateway ranked the case within the longest window of its first impression, and never in place of the gateway's.
-- Of each, the case's are the ones within the longest window of the first that show it to the same user: nobody acts on a
-- case in another's name. A pseudonym and an id, or two pseudonyms by different salts, may be one user.
WITH of_cases AS (
    SELECT i.*, p.longest_us, p.day_start_us, p.day_end_us, MIN(i.ts_us) OVER (PARTITION BY i.case_id) AS begun_us
    FROM impressions i
    CROSS JOIN parameters p
    WHERE i.ts_us < p.as_of_us
        AND i.case_id IN (
            SELECT d.case_id
            FROM impressions d
            CROSS JOIN parameters q
            WHERE d.ts_us >= q.day_start_us AND d.ts_us < q.day_end_us
        )
),
seen AS (
    SELECT
        c.*,
        MAX(
            CASE WHEN c.origin = 'gateway' AND c.ts_us < c.begun_us + c.longest_us THEN 1 ELSE 0 END
        ) OVER (PARTITION BY c.case_id) AS by_gateway
    FROM of_cases c
),
trusted AS (
    SELECT
        s.*,
        MIN(s.ts_us) OVER (PARTITION BY s.case_id, s.origin) AS first_us,
        FIRST_VALUE(s.user_id) OVER (PARTITION BY s.case_id, s.origin ORDER BY s.ts_us, s.event_id) AS first_user,
        FIRST_VALUE(COALESCE(s.salt_id, '')) OVER (
            PARTITION BY s.case_id, s.origin ORDER BY s.ts_us, s.event_id
        ) AS first_salt
    FROM seen s
    WHERE s.by_gateway = 0 OR s.origin = 'gateway'
)
SELECT event_id, case_id, user_id, salt_id, request_id, source, lawyers, ts_utc, ts_us
FROM trusted
WHERE ts_us < first_us + longest_us
    -- The gateway's and a client's may begin on different days: each is a query of its day.
    AND first_us >= day_start_us
    AND first_us < day_end_us
    AND (user_id = first_user OR COALESCE(salt_id, '') <> first_salt)
