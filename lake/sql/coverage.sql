-- Actions of the day's cases that the displayed rankings cannot account for, and those of the day without any ranking.
SELECT 'actions' AS fact, COUNT(*) AS number FROM outcomes
UNION ALL
SELECT 'actions_unbound' AS fact, COUNT(*) AS number FROM outcomes WHERE outcome = 'unbound'
UNION ALL
SELECT 'actions_never_displayed' AS fact, COUNT(*) AS number
FROM outcomes o
LEFT JOIN (
    SELECT DISTINCT k.case_id, s.lawyer_id
    FROM kept k
    JOIN impression_lawyers s ON s.event_id = k.event_id
) d ON d.case_id = o.case_id AND d.lawyer_id = o.lawyer_id
WHERE d.case_id IS NULL
UNION ALL
SELECT 'actions_without_impression' AS fact, COUNT(*) AS number
FROM actions a
CROSS JOIN parameters p
LEFT JOIN (SELECT DISTINCT case_id FROM impressions) i ON i.case_id = a.case_id
WHERE i.case_id IS NULL AND a.ts_us >= p.day_start_us AND a.ts_us < p.day_end_us
