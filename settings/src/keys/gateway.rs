//! The sections that the gateway reads; the trainer reads some of them too.

use super::names::{GROUPS_WITHOUT_CONSENT, PRESETS, PSEUDONYMISE_EVENTS};
use super::rule::Rule::{Flag, Number, OneOf, Whole, Words};
use super::rule::{
    CONFIDENCE, HOURS, MILLISECONDS, PATH, REDIS_KEY, RESAMPLES, ROWS, SALT, SEED, SHARE, Section, TIMEOUT, key,
};

pub(super) const SECTIONS: &[Section] = &[
    Section {
        name: "ranking",
        about: "Features and presets of the ranking.",
        keys: &[
            key(
                "features",
                "Feature names; every row holds them in this order.",
                Words("a list of 1 to 4096 different names"),
            ),
            key(
                "default_preset",
                "Preset of a request that names none.",
                Words("the name of a table under ranking.presets"),
            ),
        ],
    },
    Section {
        name: "ranking.fairness",
        about: "The fairness re-rank of legacy and LTR rankings alike.",
        keys: &[
            key(
                "elite_floor",
                "The elite reaches at least this far below the best score.",
                SHARE,
            ),
            key(
                "elite_share",
                "The elite reaches this share of the best score below it, if that is further.",
                SHARE,
            ),
            key("score_weight", "Weight of the score inside the elite.", SHARE),
            key("equity_weight", "Weight of free capacity inside the elite.", SHARE),
            key("equity_floor", "Equity of a lawyer at or over capacity.", SHARE),
            key("lambda", "Bonus for a lawyer of an under-represented group.", SHARE),
            key(
                "tau",
                "A group with less than this share of the elite is under-represented.",
                SHARE,
            ),
        ],
    },
    Section {
        name: PRESETS,
        about: "Legacy weights by preset: one per feature, 0 leaves it out; normalised to sum 1.\n\
                One preset in a file replaces all of these.",
        keys: &[],
    },
    Section {
        name: "labels",
        about: "Attribution windows: how long after an impression an action still counts.",
        keys: &[
            key("click_hours", "Profile opened.", HOURS),
            key("contact_hours", "Chat or call started.", HOURS),
            key("contract_hours", "Contract signed.", HOURS),
        ],
    },
    Section {
        name: "events",
        about: "Limits of /events for the time of an event.",
        keys: &[
            key(
                "max_ahead_seconds",
                "How far an event's time may lie after the gateway's; 422 beyond; 0: no limit, for replays.",
                Whole(0, 31_536_000),
            ),
            key(
                "max_age_hours",
                "How far an event's time may lie before the gateway's; 422 beyond; 0: no limit, for replays.",
                Whole(0, 1_000_000),
            ),
        ],
    },
    Section {
        name: "database",
        about: "Storage of events, shadow log and rollout.",
        keys: &[
            key(
                "url",
                "URL of the database; a missing SQLite file is created. A password in it is secret.",
                Words("sqlite://PATH or postgres://USER[:PASSWORD]@HOST[:PORT]/DB"),
            ),
            key(
                "ca_file",
                "Certificate authorities (PEM), in addition to the system's; a PostgreSQL server must have a certificate from one of them for the host in the URL. Empty: TLS is opportunistic and the server is not verified.",
                Words("empty, or a path; only with a postgres:// URL"),
            ),
            key(
                "max_connections",
                "Maximum number of open connections per program: one writes, one serves the rollout, the others read. 2 counts as 3.",
                Whole(2, 1000),
            ),
            key(
                "timeout_ms",
                "How long a call waits before the database counts as unavailable.",
                Whole(100, 600_000),
            ),
            key(
                "spool_dir",
                "Directory for the records that the gateway accepts while the database is unavailable; one per gateway, on a local disk.",
                PATH,
            ),
            key(
                "spool_mb",
                "Maximum size of the spool, in MiB; /events answers 503 beyond.",
                Whole(1, 1_000_000),
            ),
            key(
                "rank_waits",
                "Whether /rank waits until its records are on disk, as long as its deadline allows. A crash of the machine then loses no impression.",
                Flag,
            ),
        ],
    },
    Section {
        name: "models",
        about: "Published models.",
        keys: &[
            key(
                "dir",
                "Directory of the models, each in ltr/{version}/. A version is named by its time, YYYYMMDDTHHMMSSZ; any other name counts as older.",
                PATH,
            ),
            key(
                "source",
                "Remote source of models, each in ltr/{version}/. A version is copied from there to models.dir, which this gateway must then not share. S3 credentials, region and endpoint: AWS_* in the environment.",
                Words("empty, or s3://BUCKET[/PREFIX], or file:///PATH"),
            ),
            key(
                "max_download_mb",
                "Maximum size of a version in models.source, all its files together, in MiB.",
                Whole(1, 65_536),
            ),
            key(
                "download_seconds",
                "How long the download of a version may take, in seconds.",
                Whole(1, 3_600),
            ),
            key(
                "trusted_keys",
                "Directory of the public keys that may sign models: NAME.pub is trusted, NAME.revoked no longer; read at each load and on SIGHUP. A revocation file that cannot be read revokes the key of its name.",
                PATH,
            ),
            key(
                "allow_unsigned",
                "Development only: load unsigned models. Warns at every load; metric ltr_unsigned_models_allowed.",
                Flag,
            ),
            key(
                "max_component_mb",
                "Maximum size of a component, in MiB.",
                Whole(1, 1024),
            ),
            key(
                "max_memory_mb",
                "Maximum memory per instance of a component, in MiB.",
                Whole(1, 4096),
            ),
            key(
                "warm_instances",
                "Instances of a component that are ready before it serves; more are created under load.",
                Whole(1, 8),
            ),
            key(
                "poll_seconds",
                "Seconds between two searches of models.dir and models.source for a newer model, in addition to POST /models/notify; 0: never.",
                Whole(0, 86_400),
            ),
            key(
                "code_cache_dir",
                "Directory of compiled models, for this host only (mode 700); empty: models are compiled at every start.",
                Words("empty, or a path, absolute or from the working directory"),
            ),
            key(
                "code_cache_mb",
                "Maximum size of the code cache, in MiB; the oldest entry is removed first.",
                Whole(1, 65_536),
            ),
        ],
    },
    Section {
        name: "host",
        about: "The gateway.",
        keys: &[
            key(
                "listen",
                "Address to serve on; port 0 takes a free port.",
                Words("IP:PORT, as 127.0.0.1:8080; a loopback IP while access.tokens is empty"),
            ),
            key(
                "admin_listen",
                "Separate address of /rollout, /models and /metrics, for operators; empty: they are served on host.listen. On loopback it speaks plain HTTP, whatever [tls] says.",
                Words("empty, or another IP:PORT; a loopback IP while access.tokens is empty"),
            ),
            key(
                "deadline_ms",
                "/rank answers within this time, whatever the model does.",
                Whole(1, 60_000),
            ),
            key(
                "ltr_budget_ms",
                "Part of the deadline that the model may use; after it, legacy answers.",
                Words("an integer, 1 to 60000, below host.deadline_ms"),
            ),
            key(
                "max_connections",
                "Maximum number of open connections; one more is answered 429 and closed.",
                Whole(1, 1_000_000),
            ),
            key(
                "max_headers",
                "Maximum number of headers per request; 431 beyond.",
                Whole(8, 100),
            ),
            key(
                "max_header_bytes",
                "Maximum size of a request's header names and values together; 431 beyond.",
                Whole(512, 1 << 18),
            ),
            key(
                "max_body_bytes",
                "Maximum size of a request body; 413 beyond.",
                Whole(1024, 1 << 30),
            ),
            key(
                "max_body_total_mb",
                "Maximum memory for all request bodies above 64 KiB together, in MiB; 503 with Retry-After beyond. Bodies above 256 KiB may use three quarters of it.",
                Words("an integer, 2 to 1000000, at least one and a third times host.max_body_bytes"),
            ),
            key(
                "max_json_depth",
                "Maximum nesting of arrays and objects in a body; 400 beyond.",
                Whole(8, 126),
            ),
            key(
                "max_lawyers",
                "Maximum number of lawyers per /rank; 422 beyond.",
                Whole(1, 10_000),
            ),
            key(
                "max_rows",
                "Maximum number of rows per /ltr/score; 422 beyond.",
                Whole(1, 10_000_000),
            ),
            key(
                "header_timeout_ms",
                "How long a connection may take to deliver the head of its next request, idle time included; then it is closed.",
                TIMEOUT,
            ),
            key(
                "body_timeout_ms",
                "How long a request's body may take to arrive; then 408.",
                TIMEOUT,
            ),
            key(
                "request_timeout_ms",
                "How long a request may take in total, its body included; then 503.",
                TIMEOUT,
            ),
            key(
                "write_timeout_ms",
                "How long a client may read nothing of its response; then the connection is closed.",
                TIMEOUT,
            ),
            key(
                "drain_delay_ms",
                "How long after SIGTERM requests are still accepted, while /readyz reports draining. It must be longer than a load balancer takes to notice, e.g. 5000 in Kubernetes.",
                Whole(0, 600_000),
            ),
            key(
                "drain_timeout_ms",
                "How long requests may then take to finish before they are cut off.",
                TIMEOUT,
            ),
            key(
                "rate_per_second",
                "Maximum requests per second and client (by token, or else by address); 429 beyond; 0: no limit.",
                Whole(0, 1_000_000),
            ),
            key(
                "rate_burst",
                "Requests that a client may send at once before host.rate_per_second applies.",
                Whole(1, 1_000_000),
            ),
            key(
                "clock",
                "Source of \"now\"; header (X-LTR-Time) is for simulations and replays only.",
                OneOf(&["system", "header"]),
            ),
        ],
    },
    Section {
        name: "tls",
        about: "Certificates (PEM); SIGHUP reads them again, for new connections. All empty: plain HTTP.",
        keys: &[
            key(
                "cert_file",
                "The gateway's certificate, followed by the intermediate ones.",
                Words("empty, or a path; together with tls.key_file"),
            ),
            key(
                "key_file",
                "Private key of that certificate.",
                Words("empty, or a path; together with tls.cert_file"),
            ),
            key(
                "client_ca_file",
                "Certificate authorities of clients; if set, a client must present a certificate from one of them.",
                Words("empty, or a path; only with tls.cert_file"),
            ),
        ],
    },
    Section {
        name: "log",
        about: "The gateway's log, on standard error. It names no user, case or lawyer.",
        keys: &[
            key(
                "format",
                "text is for people, coloured on a terminal; json is one object per line, with timestamp, level, target, message, fields, and request_id while a request is served.",
                OneOf(&["text", "json"]),
            ),
            key(
                "level",
                "Minimum severity to log; the environment variable RUST_LOG overrides it, as RUST_LOG=warn,ltr_host=debug.",
                OneOf(&["off", "error", "warn", "info", "debug", "trace"]),
            ),
            key(
                "requests",
                "One line per request: method, route, status, milliseconds.",
                Flag,
            ),
        ],
    },
    Section {
        name: "telemetry",
        about: "Export of traces and error reports. Undeliverable ones are dropped (ltr_telemetry_lost_total).",
        keys: &[
            key(
                "otlp_endpoint",
                "OpenTelemetry collector for the spans of requests, by OTLP over HTTP; /v1/traces is appended. Empty: no traces.",
                Words("empty, or http://HOST[:PORT][/PATH] or https://..."),
            ),
            key(
                "trace_ratio",
                "Share of the requests that are traced, unless the caller's traceparent decides.",
                SHARE,
            ),
            key(
                "sentry_dsn",
                "Sentry project for errors and panics. A report holds no users, cases, lawyers, bodies, headers or addresses. Empty: no reports. Secret.",
                Words("empty, or http[s]://KEY@HOST[:PORT]/PROJECT"),
            ),
        ],
    },
    Section {
        name: "access",
        about: "Who may call the gateway, and which callers are edges. Without tokens, /rank, /ltr/score, /events and\n\
                /models/notify are open to programs on this machine only (host.listen and the Host of a request must\n\
                be loopback, bodies JSON or Arrow), and changes of the rollout are refused.",
        keys: &[
            key(
                "tokens",
                "Bearer tokens, stored as hashes; `ltr-host token` makes a token and its entry. Roles: ingest (/events), rank (/rank, /ltr/score), admin (changes of /rollout, /models/notify).",
                Words(
                    "a list of { name = \"NAME\", roles = [\"ingest\", \"rank\", \"admin\"], sha256 = \"64 hexadecimal digits\" }, each name and hash once",
                ),
            ),
            key(
                "edges",
                "The Envoys that mark and copy requests. A comparison records whether one of them or another caller asked for it.",
                Words("a list of names of access.tokens, of IP addresses and of networks, as 10.0.0.0/8"),
            ),
        ],
    },
    Section {
        name: "client",
        about: "How ltr-trainer (simulate, publish) and ltr-host rollout call a gateway.",
        keys: &[
            key(
                "token",
                "Bearer token for these calls: simulate needs the roles ingest and rank, the others admin. Secret.",
                Words("empty, or 16 to 256 printable ASCII characters without spaces"),
            ),
            key(
                "ca_file",
                "Certificate authorities (PEM) for an https:// gateway; empty: the system's.",
                Words("empty, or a path"),
            ),
        ],
    },
    Section {
        name: "shadow",
        about: "Which requests the challenger scores in shadow, without serving.",
        keys: &[
            key("fraction", "Share of the requests.", SHARE),
            key("salt", "Salt of the sampling hash.", SALT),
        ],
    },
    Section {
        name: "flags",
        about: "The operator's switches. With a Redis they apply to the whole fleet (`ltr-host flags`). While it is down, its last values apply.",
        keys: &[
            key(
                "kill_switch",
                "If on, only legacy answers: no model serves or is compared, whatever Redis holds.",
                Words(crate::flags::SWITCH_WORDS),
            ),
            key(
                "redis_url",
                "The Redis that holds the fleet's kill switch and shadow fraction; empty: none. A password in it is secret.",
                Words("empty, or redis://[USER:PASSWORD@]HOST[:PORT][/NUMBER], with TLS rediss://"),
            ),
            key(
                "poll_ms",
                "Interval between two reads of Redis, in milliseconds.",
                Whole(50, 60_000),
            ),
            key(
                "kill_switch_key",
                "Redis key of the kill switch: on (or true, yes, 1, stop) or off (or false, no, 0), in any case. Without a value it is off at first, and later keeps its last state. Any other value counts as on.",
                REDIS_KEY,
            ),
            key(
                "shadow_fraction_key",
                "Redis key of the shadow fraction, a number from 0 to 1. Without a value shadow.fraction applies. After an invalid value the last number stays, or 0 if there was none.",
                REDIS_KEY,
            ),
            key(
                "file",
                "Stores the last values of Redis for a start while it is down; one per gateway.",
                PATH,
            ),
        ],
    },
    Section {
        name: "privacy",
        about: "Which personal data is stored.",
        keys: &[
            key(
                "salt_file",
                "File of the secret salt of pseudonyms; created at the first start. All programs on one database must have the same salt.",
                PATH,
            ),
            key(
                PSEUDONYMISE_EVENTS,
                "Whether match_events and the spool hold users' pseudonyms instead of their ids, as the shadow log does. A file without this key counts as an older one, with false.",
                Flag,
            ),
            key(
                GROUPS_WITHOUT_CONSENT,
                "Whether a lawyer's groups are stored, for the fair gap, without groups_consented_at, the time of the lawyer's consent. The re-rank uses them in any case. A file without this key counts as an older one, with true.",
                Flag,
            ),
        ],
    },
    Section {
        name: "rollout",
        about: "Which requests the champion serves.",
        keys: &[key("salt", "Salt of the sampling hash.", SALT)],
    },
    Section {
        name: "rollout.criteria",
        about: "Shadow evidence required for a promotion.",
        keys: &[
            key(
                "min_days",
                "Minimum days between the first and the last case; this or min_cases is enough.",
                Number(0.0, 3650.0),
            ),
            key(
                "min_cases",
                "Minimum number of compared cases.",
                Whole(1, 1_000_000_000),
            ),
            key(
                "hit3_gain",
                "Minimum gain in Hit@3 over legacy, as a share.",
                Number(-1.0, 1.0),
            ),
            key("confidence", "Confidence level of the intervals.", CONFIDENCE),
            key(
                "fair_gap_worsening",
                "Maximum excess of the fair gap over legacy's.",
                SHARE,
            ),
            key(
                "latency_p95_ms",
                "The 95th percentile of the scoring time must be below this.",
                MILLISECONDS,
            ),
            key("resamples", "Bootstrap draws.", RESAMPLES),
            key("seed", "Seed of the bootstrap.", SEED),
            key(
                "fair_min_rows",
                "Groups with fewer rows are left out of the fair gap.",
                ROWS,
            ),
        ],
    },
];
