-- What the lawyers' file says of each lawyer who was shown, as of the time of the ranking.
SELECT l.event_id, l.lawyer_id, l.groups, l.cases_30d, l.monthly_capacity, l.last_offered_at
FROM (
    SELECT
        s.event_id,
        s.lawyer_id,
        f.groups,
        f.cases_30d,
        f.monthly_capacity,
        f.last_offered_at,
        ROW_NUMBER() OVER (PARTITION BY s.event_id, s.lawyer_id ORDER BY f.from_us DESC) AS place
    FROM queries q
    JOIN kept k ON k.event_id = q.event_id
    JOIN shown s ON s.event_id = q.event_id
    JOIN lawyers f ON f.lawyer_id = s.lawyer_id AND f.from_us <= k.ts_us
) l
WHERE l.place = 1
