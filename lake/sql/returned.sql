-- Who of those that the gateway displayed the day's closed cases to was displayed a ranking on earlier days, and how.
SELECT DISTINCT e.user_id, e.policy, e.source
FROM earlier e
WHERE e.origin = 'gateway'
    AND e.user_id IN (
        SELECT i.user_id
        FROM queries q
        JOIN impressions i ON i.event_id = q.event_id
        WHERE q.mature
    )
