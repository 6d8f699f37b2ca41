-- How many cases the day has, and what became of its actions.
SELECT 'cases' AS fact, COUNT(*) AS number FROM queries
UNION ALL
SELECT 'cases_immature' AS fact, COUNT(*) AS number FROM queries WHERE NOT mature
UNION ALL
SELECT 'cases_single' AS fact, COUNT(*) AS number FROM queries WHERE lawyers < 2
UNION ALL
SELECT CONCAT('actions_', a.outcome) AS fact, COUNT(*) AS number
FROM (
    SELECT
        CASE
            WHEN o.outcome = 'counted' AND o.impression_id <> q.event_id THEN 'other_impression'
            ELSE o.outcome
        END AS outcome
    FROM outcomes o
    JOIN queries q ON q.case_id = o.case_id
) a
GROUP BY a.outcome
