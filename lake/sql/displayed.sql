-- The day's closed cases as the gateway displayed them: a row for the first place, and for each lawyer with a label.
SELECT
    q.case_id,
    q.ts_us,
    i.user_id,
    i.policy,
    i.source,
    i.model_version,
    i.details,
    s.position,
    COALESCE(g.grade, 0) AS grade
FROM queries q
JOIN impressions i ON i.event_id = q.event_id
JOIN impression_lawyers s ON s.event_id = q.event_id
LEFT JOIN grades g ON g.case_id = q.case_id AND g.lawyer_id = s.lawyer_id
WHERE q.mature AND i.origin = 'gateway' AND (s.position = 1 OR g.grade > 0)
ORDER BY q.ts_us, q.case_id, s.position
