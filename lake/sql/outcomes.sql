-- What became of each action on a case of the day, and which impression it is about. It must fit an impression of the
-- case, which showed that lawyer at that place to that user. It counts inside its window
--   first_impression: from the case's first impression, if that showed the lawyer, too;
--   last_touch: from the latest impression up to it that it fits.
WITH of_cases AS (
    SELECT a.*, w.grade, w.window_us, c.event_id AS first_id, c.ts_us AS first_us, p.last_touch
    FROM actions a
    JOIN windows w ON w.event = a.event
    JOIN anchors c ON c.case_id = a.case_id
    CROSS JOIN parameters p
    WHERE a.ts_us < p.as_of_us
),
fitting AS (
    SELECT
        a.event_id,
        k.event_id AS impression_id,
        k.ts_us AS shown_us,
        ROW_NUMBER() OVER (
            PARTITION BY a.event_id
            ORDER BY CASE WHEN k.ts_us <= a.ts_us THEN 0 ELSE 1 END, k.ts_us DESC, k.event_id DESC
        ) AS place
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
),
touching AS (
    SELECT
        a.event_id,
        a.case_id,
        a.lawyer_id,
        a.grade,
        a.ts_us,
        a.window_us,
        f.event_id AS fits,
        CASE WHEN a.last_touch = 1 THEN f.impression_id ELSE a.first_id END AS impression_id,
        CASE WHEN a.last_touch = 1 THEN f.shown_us ELSE a.first_us END AS shown_us
    FROM of_cases a
    LEFT JOIN fitting f ON f.event_id = a.event_id AND f.place = 1
)
SELECT
    t.event_id,
    t.case_id,
    t.lawyer_id,
    t.grade,
    t.impression_id,
    t.shown_us,
    CASE
        WHEN t.fits IS NULL THEN 'unbound'
        WHEN s.lawyer_id IS NULL THEN 'not_shown'
        WHEN t.ts_us < t.shown_us THEN 'before_impression'
        WHEN t.ts_us >= t.shown_us + t.window_us THEN 'after_window'
        ELSE 'counted'
    END AS outcome
FROM touching t
LEFT JOIN impression_lawyers s ON s.event_id = t.impression_id AND s.lawyer_id = t.lawyer_id
