-- The strongest action that counts.
SELECT case_id, lawyer_id, MAX(grade) AS grade
FROM outcomes
WHERE outcome = 'counted'
GROUP BY case_id, lawyer_id
