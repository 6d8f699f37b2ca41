-- The impression that is the case's one query: who was shown, with which features, and where. It is the one that the
-- strongest action that counts is about, the latest such one if there are several; without an action, the first.
SELECT c.case_id, k.event_id, k.source, k.lawyers, c.ts_utc, c.ts_us, c.mature
FROM anchors c
LEFT JOIN (
    SELECT
        o.case_id,
        o.impression_id,
        ROW_NUMBER() OVER (
            PARTITION BY o.case_id
            ORDER BY o.grade DESC, o.shown_us DESC, o.impression_id DESC
        ) AS place
    FROM outcomes o
    WHERE o.outcome = 'counted'
) t ON t.case_id = c.case_id AND t.place = 1
JOIN kept k ON k.event_id = COALESCE(t.impression_id, c.event_id)
