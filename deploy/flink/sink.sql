-- The job of `ltr-trainer sink` as Flink SQL: the records of the Kafka topic match_events as flat Parquet tables by day.
-- Replace the addresses. The columns of features are those of ranking.features, in its order.

SET 'table.local-time-zone' = 'UTC';
-- A file is complete with the checkpoint after it.
SET 'execution.checkpointing.interval' = '5 min';
-- For how long a repeated event_id is known.
SET 'table.exec.state.ttl' = '14 d';

-- The events as text, for what no table understands.
CREATE TABLE payloads (
    payload STRING,
    arrived AS PROCTIME()
) WITH (
    'connector' = 'kafka',
    'topic' = 'match_events',
    'properties.bootstrap.servers' = 'broker:9092',
    'properties.group.id' = 'ltr-flink-sink',
    'scan.startup.mode' = 'earliest-offset',
    'format' = 'raw'
);

-- The same events as columns; those of which Flink cannot make columns are left out here.
CREATE TABLE events (
    event STRING,
    event_id STRING,
    ts_utc TIMESTAMP_LTZ(6),
    case_id STRING,
    user_id STRING,
    salt_id STRING,
    request_id STRING,
    source STRING,
    model_version STRING,
    origin STRING,
    policy STRING,
    weights_used MAP<STRING, DOUBLE>,
    lawyer_ids ARRAY<STRING>,
    features ARRAY<ARRAY<DOUBLE>>,
    legacy_scores ARRAY<DOUBLE>,
    `groups` ARRAY<MAP<STRING, STRING>>,
    cases_30d ARRAY<BIGINT>,
    monthly_capacity ARRAY<BIGINT>,
    last_offered_at ARRAY<TIMESTAMP_LTZ(6)>,
    groups_consented_at ARRAY<TIMESTAMP_LTZ(6)>,
    lawyer_id STRING,
    rank_pos BIGINT,
    unbound BOOLEAN,
    user_pseudonym STRING,
    outcome STRING,
    score_us BIGINT,
    `trigger` STRING,
    `rows` ARRAY<ROW<
        lawyer_id STRING,
        rank_legacy INT,
        rank_ltr INT,
        fair_legacy DOUBLE,
        fair_ltr DOUBLE,
        `groups` MAP<STRING, STRING>
    >>,
    arrived AS PROCTIME()
) WITH (
    'connector' = 'kafka',
    'topic' = 'match_events',
    'properties.bootstrap.servers' = 'broker:9092',
    'properties.group.id' = 'ltr-flink-sink',
    'scan.startup.mode' = 'earliest-offset',
    'format' = 'json',
    'json.timestamp-format.standard' = 'ISO-8601',
    'json.ignore-parse-errors' = 'true'
);

CREATE TABLE impressions (
    event_id STRING,
    ts_utc TIMESTAMP_LTZ(6),
    case_id STRING,
    user_id STRING,
    salt_id STRING,
    request_id STRING,
    source STRING,
    model_version STRING,
    origin STRING,
    policy STRING,
    lawyers INT,
    weights_used STRING,
    `day` STRING
) PARTITIONED BY (`day`) WITH (
    'connector' = 'filesystem',
    'path' = 's3://bucket/flink/impressions',
    'format' = 'parquet',
    'parquet.compression' = 'ZSTD',
    'parquet.write.int64.timestamp' = 'true',
    'parquet.timestamp.time.unit' = 'micros',
    'parquet.utc-timezone' = 'true',
    'auto-compaction' = 'true'
);

CREATE TABLE impression_lawyers (
    event_id STRING,
    ts_utc TIMESTAMP_LTZ(6),
    case_id STRING,
    `position` INT,
    lawyer_id STRING,
    area_match DOUBLE,
    similarity DOUBLE,
    success_rate DOUBLE,
    geo DOUBLE,
    qualification DOUBLE,
    urgency DOUBLE,
    review DOUBLE,
    soft_skill DOUBLE,
    firm_reputation DOUBLE,
    price_fit DOUBLE,
    maturity DOUBLE,
    legacy_score DOUBLE,
    `groups` STRING,
    cases_30d BIGINT,
    monthly_capacity BIGINT,
    last_offered_at TIMESTAMP_LTZ(6),
    groups_consented_at TIMESTAMP_LTZ(6),
    `day` STRING
) PARTITIONED BY (`day`) WITH (
    'connector' = 'filesystem',
    'path' = 's3://bucket/flink/impression_lawyers',
    'format' = 'parquet',
    'parquet.compression' = 'ZSTD',
    'parquet.write.int64.timestamp' = 'true',
    'parquet.timestamp.time.unit' = 'micros',
    'parquet.utc-timezone' = 'true',
    'auto-compaction' = 'true'
);

CREATE TABLE actions (
    event_id STRING,
    ts_utc TIMESTAMP_LTZ(6),
    case_id STRING,
    user_id STRING,
    salt_id STRING,
    event STRING,
    lawyer_id STRING,
    rank_pos BIGINT,
    request_id STRING,
    unbound BOOLEAN,
    `day` STRING
) PARTITIONED BY (`day`) WITH (
    'connector' = 'filesystem',
    'path' = 's3://bucket/flink/actions',
    'format' = 'parquet',
    'parquet.compression' = 'ZSTD',
    'parquet.write.int64.timestamp' = 'true',
    'parquet.timestamp.time.unit' = 'micros',
    'parquet.utc-timezone' = 'true',
    'auto-compaction' = 'true'
);

CREATE TABLE comparisons (
    ts_utc TIMESTAMP_LTZ(6),
    case_id STRING,
    user_id STRING,
    salt_id STRING,
    request_id STRING,
    model_version STRING,
    outcome STRING,
    score_us BIGINT,
    `trigger` STRING,
    lawyer_id STRING,
    rank_legacy INT,
    rank_ltr INT,
    fair_legacy DOUBLE,
    fair_ltr DOUBLE,
    `groups` STRING,
    `day` STRING
) PARTITIONED BY (`day`) WITH (
    'connector' = 'filesystem',
    'path' = 's3://bucket/flink/comparisons',
    'format' = 'parquet',
    'parquet.compression' = 'ZSTD',
    'parquet.write.int64.timestamp' = 'true',
    'parquet.timestamp.time.unit' = 'micros',
    'parquet.utc-timezone' = 'true',
    'auto-compaction' = 'true'
);

CREATE TABLE rejected (
    event_id STRING,
    reason STRING,
    payload STRING,
    `day` STRING
) PARTITIONED BY (`day`) WITH (
    'connector' = 'filesystem',
    'path' = 's3://bucket/flink/rejected',
    'format' = 'parquet',
    'parquet.compression' = 'ZSTD'
);

-- Each event once, the first that came.
CREATE VIEW distinct_events AS
SELECT *, DATE_FORMAT(ts_utc, 'yyyy-MM-dd') AS `day`
FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY arrived) AS occurrence
    FROM events
    WHERE event_id IS NOT NULL AND ts_utc IS NOT NULL AND case_id IS NOT NULL AND user_id IS NOT NULL
)
WHERE occurrence = 1;

-- Each comparison once. Request and case are its key.
CREATE VIEW distinct_comparisons AS
SELECT *, DATE_FORMAT(ts_utc, 'yyyy-MM-dd') AS `day`
FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY request_id, case_id ORDER BY arrived) AS occurrence
    FROM events
    WHERE event = 'comparison' AND request_id IS NOT NULL AND ts_utc IS NOT NULL AND case_id IS NOT NULL
)
WHERE occurrence = 1;

EXECUTE STATEMENT SET BEGIN

INSERT INTO impressions
SELECT
    event_id,
    ts_utc,
    case_id,
    user_id,
    salt_id,
    request_id,
    source,
    model_version,
    COALESCE(origin, 'client'),
    policy,
    CARDINALITY(lawyer_ids),
    JSON_STRING(weights_used),
    `day`
FROM distinct_events
WHERE event = 'impression';

INSERT INTO impression_lawyers
SELECT
    e.event_id,
    e.ts_utc,
    e.case_id,
    l.`position`,
    l.lawyer_id,
    e.features[l.`position`][1],
    e.features[l.`position`][2],
    e.features[l.`position`][3],
    e.features[l.`position`][4],
    e.features[l.`position`][5],
    e.features[l.`position`][6],
    e.features[l.`position`][7],
    e.features[l.`position`][8],
    e.features[l.`position`][9],
    e.features[l.`position`][10],
    e.features[l.`position`][11],
    e.legacy_scores[l.`position`],
    COALESCE(JSON_STRING(e.`groups`[l.`position`]), '{}'),
    e.cases_30d[l.`position`],
    e.monthly_capacity[l.`position`],
    e.last_offered_at[l.`position`],
    e.groups_consented_at[l.`position`],
    e.`day`
FROM distinct_events e
CROSS JOIN UNNEST(e.lawyer_ids) WITH ORDINALITY AS l (lawyer_id, `position`)
WHERE e.event = 'impression';

INSERT INTO actions
SELECT event_id, ts_utc, case_id, user_id, salt_id, event, lawyer_id, rank_pos, request_id, unbound, `day`
FROM distinct_events
WHERE event IN ('click_profile', 'contact_made', 'contract_signed');

-- A comparison without lawyers is a row, too.
INSERT INTO comparisons
SELECT
    c.ts_utc,
    c.case_id,
    c.user_pseudonym,
    c.salt_id,
    c.request_id,
    c.model_version,
    c.outcome,
    c.score_us,
    c.`trigger`,
    l.lawyer_id,
    l.rank_legacy,
    l.rank_ltr,
    l.fair_legacy,
    l.fair_ltr,
    COALESCE(JSON_STRING(l.`groups`), '{}'),
    c.`day`
FROM distinct_comparisons c
LEFT JOIN UNNEST(c.`rows`) AS l (lawyer_id, rank_legacy, rank_ltr, fair_legacy, fair_ltr, `groups`) ON TRUE;

INSERT INTO rejected
SELECT
    JSON_VALUE(payload, '$.event_id'),
    CASE
        WHEN payload IS NOT JSON OBJECT THEN 'no JSON object'
        WHEN JSON_VALUE(payload, '$.ts_utc') IS NULL THEN 'ts_utc: missing'
        ELSE 'event: none of impression, click_profile, contact_made, contract_signed, comparison'
    END,
    payload,
    DATE_FORMAT(arrived, 'yyyy-MM-dd')
FROM payloads
WHERE payload IS NOT JSON OBJECT
    OR JSON_VALUE(payload, '$.ts_utc') IS NULL
    OR COALESCE(JSON_VALUE(payload, '$.event'), '')
        NOT IN ('impression', 'click_profile', 'contact_made', 'contract_signed', 'comparison');

END;
