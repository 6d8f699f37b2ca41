-- What became of each action on a case of the day. It counts if an impression of the case showed that lawyer at that
-- place to that user, if the first impression showed the lawyer, too, and inside its window from then on.
WITH of_cases AS (
    SELECT a.*, w.grade, w.window_us, c.event_id AS anchor_id, c.ts_us AS shown_us
    FROM actions a
    JOIN windows w ON w.event = a.event
    JOIN anchors c ON c.case_id = a.case_id
    CROSS JOIN parameters p
    WHERE a.ts_us < p.as_of_us
),
bound AS (
    SELECT DISTINCT a.event_id
    FROM of_cases a
    JOIN kept k ON k.case_id = a.case_id
    JOIN impression_lawyers s
        ON s.event_id = k.event_id AND s.position = a.rank_pos AND s.lawyer_id = a.lawyer_id
    WHERE (a.request_id IS NULL OR a.request_id = k.request_id)
        AND (
            (COALESCE(a.salt_id, '') = COALESCE(k.salt_id, '') AND a.user_id = k.user_id)
            -- One is a pseudonym and the other is not: what the gateway saw when the action came decides.
            OR (COALESCE(a.salt_id, '') <> COALESCE(k.salt_id, '') AND a.unbound = FALSE)
        )
)
SELECT
    a.event_id,
    a.case_id,
    a.lawyer_id,
    a.grade,
    CASE
        WHEN b.event_id IS NULL THEN 'unbound'
        WHEN s.lawyer_id IS NULL THEN 'not_shown'
        WHEN a.ts_us < a.shown_us THEN 'before_impression'
        WHEN a.ts_us >= a.shown_us + a.window_us THEN 'after_window'
        ELSE 'counted'
    END AS outcome
FROM of_cases a
LEFT JOIN bound b ON b.event_id = a.event_id
LEFT JOIN impression_lawyers s ON s.event_id = a.anchor_id AND s.lawyer_id = a.lawyer_id
