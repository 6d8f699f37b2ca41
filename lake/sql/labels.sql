-- The cases that are closed, and their labels above 0, for the log of comparisons.
SELECT q.case_id, g.lawyer_id, COALESCE(g.grade, 0) AS grade
FROM queries q
LEFT JOIN grades g ON g.case_id = q.case_id
WHERE q.mature
ORDER BY q.case_id, g.lawyer_id
