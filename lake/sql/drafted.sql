-- The day's closed cases that were shown drafted in turn: a row for each displayed lawyer. The impression says who would have
-- been displayed by either ranking, also where the case was not compared.
SELECT
    q.case_id,
    q.ts_us,
    i.user_id,
    i.policy,
    i.source,
    CASE WHEN s.position = 1 THEN i.details END AS details,
    s.lawyer_id,
    s.position,
    COALESCE(g.grade, 0) AS grade
FROM queries q
JOIN impressions i ON i.event_id = q.event_id
JOIN impression_lawyers s ON s.event_id = q.event_id
LEFT JOIN grades g ON g.case_id = q.case_id AND g.lawyer_id = s.lawyer_id
WHERE q.mature AND i.origin = 'gateway' AND i.source = 'interleaved'
ORDER BY q.ts_us, q.case_id, s.position
