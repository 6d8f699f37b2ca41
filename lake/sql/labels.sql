-- The labels above 0 of the cases that are closed, for the log of comparisons.
SELECT g.case_id, g.lawyer_id, g.grade
FROM grades g
JOIN queries q ON q.case_id = g.case_id
WHERE q.mature
ORDER BY g.case_id, g.lawyer_id
