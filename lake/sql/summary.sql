-- How many cases the day has, and what became of its actions.
SELECT 'cases' AS fact, COUNT(*) AS number FROM anchors
UNION ALL
SELECT 'cases_immature' AS fact, COUNT(*) AS number FROM anchors WHERE NOT mature
UNION ALL
SELECT 'cases_single' AS fact, COUNT(*) AS number FROM anchors WHERE lawyers < 2
UNION ALL
SELECT CONCAT('actions_', outcome) AS fact, COUNT(*) AS number FROM outcomes GROUP BY outcome
