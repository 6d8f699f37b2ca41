-- The labels above 0 of the cases whose longest window has closed, for the log of comparisons.
SELECT g.case_id, g.lawyer_id, g.grade
FROM grades g
JOIN anchors c ON c.case_id = g.case_id
WHERE c.mature
ORDER BY g.case_id, g.lawyer_id
