-- One row for each lawyer of each case's query, if it has at least two, as served, with the label. The time is that of
-- the case's first impression. What an impression does not say of a lawyer, the lawyers' file may.
SELECT
    q.case_id AS qid,
    CAST(
        CASE COALESCE(g.grade, 0) WHEN 1 THEN 0.3 WHEN 2 THEN 0.6 WHEN 3 THEN 1.0 ELSE 0.0 END AS FLOAT
    ) AS label,
    CAST(COALESCE(g.grade, 0) AS BIGINT) AS grade,
    s.* EXCEPT (groups, cases_30d, monthly_capacity, last_offered_at),
    CASE WHEN s.groups = '{}' THEN COALESCE(l.groups, '{}') ELSE s.groups END AS groups,
    COALESCE(s.cases_30d, l.cases_30d) AS cases_30d,
    COALESCE(s.monthly_capacity, l.monthly_capacity) AS monthly_capacity,
    COALESCE(s.last_offered_at, l.last_offered_at) AS last_offered_at,
    q.source,
    CAST(q.ts_utc AS DATE) AS event_date,
    q.ts_utc AS ts,
    q.mature
FROM queries q
JOIN shown s ON s.event_id = q.event_id
LEFT JOIN grades g ON g.case_id = q.case_id AND g.lawyer_id = s.lawyer_id
LEFT JOIN lawyers_then l ON l.event_id = q.event_id AND l.lawyer_id = s.lawyer_id
WHERE q.lawyers >= 2
ORDER BY q.ts_us, q.case_id, s.position
