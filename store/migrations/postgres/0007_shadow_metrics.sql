-- The numbers of a comparison in shadow, by model, for dashboards and SQL shells: as `ranking::verdict` computes them
-- from the same log. They read the whole log; nothing in the programs does.

-- Comparisons that are evidence: nobody forced them, and each of their lawyers has a label.
CREATE VIEW ltr_shadow_closed AS
    SELECT r.request_id, r.case_id, r.model_version, r.ts_utc, r.score_us, r.outcome = 'ok' AS is_scored
    FROM ltr_shadow_request r
    WHERE r."trigger" IS DISTINCT FROM 'forced'
      AND EXISTS (SELECT 1 FROM ltr_shadow_log l WHERE l.request_id = r.request_id AND l.case_id = r.case_id)
      AND NOT EXISTS (SELECT 1 FROM ltr_shadow_log l
                      WHERE l.request_id = r.request_id AND l.case_id = r.case_id AND l.label IS NULL);

-- Where each ranking had the lawyer who got the contract; of several comparisons or lawyers of a case the best
-- places. Where LTR did not answer, legacy's place is its own, because that is what would have been served. `day` is
-- UTC.
CREATE VIEW ltr_shadow_positions AS
    SELECT c.model_version, c.case_id, min((c.ts_utc AT TIME ZONE 'UTC')::date) AS day, min(l.rank_legacy) AS pos_legacy,
           min(CASE WHEN c.is_scored THEN coalesce(l.rank_ltr, l.rank_legacy) ELSE l.rank_legacy END) AS pos_ltr
    FROM ltr_shadow_closed c JOIN ltr_shadow_log l USING (request_id, case_id)
    WHERE l.label = 1.0
    GROUP BY c.model_version, c.case_id;

-- Mean fair scores by group, over all lawyers of all comparisons. Scores beyond 1e288 cannot be summed.
CREATE VIEW ltr_shadow_groups AS
    WITH scored AS (
        SELECT c.model_version, l."groups", l.fair_legacy,
               CASE WHEN c.is_scored THEN coalesce(l.fair_ltr, l.fair_legacy) ELSE l.fair_legacy END AS fair_ltr
        FROM ltr_shadow_closed c JOIN ltr_shadow_log l USING (request_id, case_id)
    )
    SELECT s.model_version, named.key AS attribute, named.value AS group_name, count(*) AS lawyers,
           avg(s.fair_legacy) AS fair_legacy, avg(s.fair_ltr) AS fair_ltr
    FROM scored s
         CROSS JOIN LATERAL json_each_text(CASE json_typeof(s."groups") WHEN 'object' THEN s."groups" ELSE '{}' END) named
    WHERE named.value <> '' AND abs(s.fair_legacy) < 1e288 AND abs(s.fair_ltr) < 1e288
    GROUP BY s.model_version, named.key, named.value;

-- One row for each model. A fair gap is between groups of 30 rows or more (the default of
-- rollout.criteria.fair_min_rows). The 95th percentile is interpolated between the two times next to it.
CREATE VIEW ltr_shadow_metrics AS
    WITH compared AS (
        SELECT model_version, min(ts_utc) AS since, max(ts_utc) AS until, count(*) AS requests,
               count(DISTINCT case_id) AS cases, count(*) FILTER (WHERE NOT is_scored) AS fallbacks,
               percentile_cont(0.95) WITHIN GROUP (ORDER BY score_us / 1000.0::double precision)
                   FILTER (WHERE is_scored) AS p95
        FROM ltr_shadow_closed
        GROUP BY model_version
    ),
    contracted AS (
        SELECT model_version, count(*) AS contracts,
               count(*) FILTER (WHERE pos_legacy <= 3) * 1.0::double precision / count(*) AS hit3_legacy,
               count(*) FILTER (WHERE pos_ltr <= 3) * 1.0::double precision / count(*) AS hit3_ltr,
               avg(1.0::double precision / pos_legacy) AS mrr_legacy, avg(1.0::double precision / pos_ltr) AS mrr_ltr
        FROM ltr_shadow_positions
        GROUP BY model_version
    ),
    gaps AS (
        SELECT model_version, max(fair_legacy) - min(fair_legacy) AS legacy, max(fair_ltr) - min(fair_ltr) AS ltr
        FROM ltr_shadow_groups
        WHERE lawyers >= 30
        GROUP BY model_version, attribute
    ),
    fair AS (
        SELECT model_version, max(legacy) AS legacy, max(ltr) AS ltr FROM gaps GROUP BY model_version
    )
    SELECT model_version, compared.since, compared.until, compared.requests, compared.cases,
           coalesce(contracted.contracts, 0) AS contracts, contracted.hit3_legacy, contracted.hit3_ltr,
           contracted.mrr_legacy, contracted.mrr_ltr, contracted.mrr_ltr - contracted.mrr_legacy AS mrr_gap,
           coalesce(fair.legacy, 0.0) AS fair_gap_legacy, coalesce(fair.ltr, 0.0) AS fair_gap_ltr,
           compared.p95 AS latency_p95_ms, compared.fallbacks * 1.0::double precision / compared.requests AS fallback_rate
    FROM compared
         LEFT JOIN contracted USING (model_version)
         LEFT JOIN fair USING (model_version);
