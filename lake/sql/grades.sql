-- The strongest action that counts and is about the case's query.
SELECT o.case_id, o.lawyer_id, MAX(o.grade) AS grade
FROM outcomes o
JOIN queries q ON q.case_id = o.case_id AND q.event_id = o.impression_id
WHERE o.outcome = 'counted'
GROUP BY o.case_id, o.lawyer_id
