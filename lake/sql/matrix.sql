-- One row for each lawyer of each case with at least two, as served, with the label.
SELECT
    c.case_id AS qid,
    CAST(
        CASE COALESCE(g.grade, 0) WHEN 1 THEN 0.3 WHEN 2 THEN 0.6 WHEN 3 THEN 1.0 ELSE 0.0 END AS FLOAT
    ) AS label,
    CAST(COALESCE(g.grade, 0) AS BIGINT) AS grade,
    s.*,
    c.source,
    CAST(c.ts_utc AS DATE) AS event_date,
    c.ts_utc AS ts,
    c.mature
FROM anchors c
JOIN shown s ON s.event_id = c.event_id
LEFT JOIN grades g ON g.case_id = c.case_id AND g.lawyer_id = s.lawyer_id
WHERE c.lawyers >= 2
ORDER BY c.ts_us, c.case_id, s.position
