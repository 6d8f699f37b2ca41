-- The day's closed cases that were compared because a sampler chose them: a row for each candidate, with both ranks and the
-- place where the gateway displayed them. A case may have been compared in another request than the displayed one: the
-- reader leaves these rows out, because Envoy may have written into one of the two ids. Where the model failed, users would
-- have been shown the legacy ranking.
SELECT
    q.case_id,
    q.ts_us,
    i.user_id,
    i.policy,
    i.source,
    CASE WHEN c.rank_legacy = 1 THEN i.details END AS details,
    c.model_version,
    c.rank_legacy,
    COALESCE(c.rank_ltr, c.rank_legacy) AS rank_ltr,
    c.groups,
    s.position,
    COALESCE(g.grade, 0) AS grade,
    i.request_id AS displayed_id,
    c.request_id AS compared_id
FROM queries q
JOIN impressions i ON i.event_id = q.event_id
JOIN comparisons c ON c.case_id = q.case_id
LEFT JOIN impression_lawyers s ON s.event_id = q.event_id AND s.lawyer_id = c.lawyer_id
LEFT JOIN grades g ON g.case_id = q.case_id AND g.lawyer_id = c.lawyer_id
WHERE q.mature AND i.origin = 'gateway' AND COALESCE(c.trigger, '') <> 'forced' AND c.rank_legacy IS NOT NULL
ORDER BY q.ts_us, q.case_id, c.model_version, c.rank_legacy
