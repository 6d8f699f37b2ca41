//! The sections that the gateway reads, and the trainer in part.

use super::names::{GROUPS_WITHOUT_CONSENT, PRESETS, PSEUDONYMISE_EVENTS};
use super::rule::Rule::{Flag, Number, OneOf, Whole, Words};
use super::rule::{
    CONFIDENCE, HOURS, MILLISECONDS, PATH, REDIS_KEY, RESAMPLES, ROWS, SALT, SEED, SHARE, Section, TIMEOUT, key,
};

pub(super) const SECTIONS: &[Section] = &[
    Section {
        name: "ranking",
        about: "What a lawyer is ranked by.",
        keys: &[
            key(
                "features",
                "Feature names, in the order of every row.",
                Words("a list of 1 to 4096 different names"),
            ),
            key(
                "default_preset",
                "The preset of a request that names none.",
                Words("the name of a table under ranking.presets"),
            ),
        ],
    },
    Section {
        name: "ranking.fairness",
        about: "The fairness re-rank, of legacy and LTR alike.",
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
            key("lambda", "What a lawyer of an under-represented group gains.", SHARE),
            key(
                "tau",
                "A group with less than this share of the elite is under-represented.",
                SHARE,
            ),
        ],
    },
    Section {
        name: PRESETS,
        about: "Legacy weights by preset: one a feature, 0 leaves it out; normalised to sum 1.\n\
                A file that has any preset replaces them all.",
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
        about: "What /events takes.",
        keys: &[
            key(
                "max_ahead_seconds",
                "How far an event's time may lie after the gateway's; 422 beyond; 0 is no limit, for replays.",
                Whole(0, 31_536_000),
            ),
            key(
                "max_age_hours",
                "How far an event's time may lie before the gateway's; 422 beyond; 0 is no limit, for replays.",
                Whole(0, 1_000_000),
            ),
        ],
    },
    Section {
        name: "database",
        about: "Events, shadow log and rollout.",
        keys: &[
            key(
                "url",
                "Where they are stored; a SQLite file is made where it is absent. A password in it is secret.",
                Words("sqlite://PATH or postgres://USER[:PASSWORD]@HOST[:PORT]/DB"),
            ),
            key(
                "ca_file",
                "Authorities (PEM) by which a PostgreSQL server must show that it is the host in the URL, beside the system's; the connection is encrypted then. Empty: encrypted if the server offers it, by whoever answers.",
                Words("empty, or a path; only with a postgres:// URL"),
            ),
            key(
                "max_connections",
                "Most connections that a program keeps open: one writes, one is for the rollout, the others read. 2 counts as 3.",
                Whole(2, 1000),
            ),
            key(
                "timeout_ms",
                "How long a call waits for the database, which then counts as unavailable.",
                Whole(100, 600_000),
            ),
            key(
                "spool_dir",
                "Where the gateway keeps what it takes while the database is unavailable; its own, on a local disk.",
                PATH,
            ),
            key(
                "spool_mb",
                "Most that is kept there, in MiB; beyond, /events answers 503.",
                Whole(1, 1_000_000),
            ),
            key(
                "rank_waits",
                "Whether /rank answers when its records are on disk, as long as its deadline allows, instead of at once: a crash of the machine then takes no impression with it.",
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
                "Artefacts lie in ltr/{version}/ below this directory; a version is named by its time, YYYYMMDDTHHMMSSZ, and any other name counts as older.",
                PATH,
            ),
            key(
                "source",
                "Where else they are published, in ltr/{version}/ below it; a version comes from there to models.dir, this gateway's own then. Credentials, region and endpoint of S3: AWS_* in the environment.",
                Words("empty, or s3://BUCKET[/PREFIX], or file:///PATH"),
            ),
            key(
                "max_download_mb",
                "Largest version that is taken from there, all its files together, in MiB.",
                Whole(1, 65_536),
            ),
            key("download_seconds", "How long that may take.", Whole(1, 3_600)),
            key(
                "trusted_keys",
                "Directory of the public keys that may sign models: NAME.pub is trusted, NAME.revoked no longer; read at each load and on SIGHUP. A revocation that cannot be read counts for the key of its name.",
                PATH,
            ),
            key(
                "allow_unsigned",
                "Development only: load models that nobody signed. Warns at every load; metric ltr_unsigned_models_allowed.",
                Flag,
            ),
            key(
                "max_component_mb",
                "Largest component that is loaded, in MiB.",
                Whole(1, 1024),
            ),
            key(
                "max_memory_mb",
                "Most memory an instance of a component may have, in MiB.",
                Whole(1, 4096),
            ),
            key(
                "warm_instances",
                "Instances of a component that are ready before it serves; more are made under load.",
                Whole(1, 8),
            ),
            key(
                "poll_seconds",
                "How often the directory and the source are searched for a newer model, beside POST /models/notify; 0 never.",
                Whole(0, 86_400),
            ),
            key(
                "code_cache_dir",
                "Compiled models are kept here, for this host alone (mode 700); empty compiles them at every start.",
                Words("empty, or a path, absolute or from the working directory"),
            ),
            key(
                "code_cache_mb",
                "Most that is kept there, in MiB; the oldest goes first.",
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
                "Address it serves on; port 0 takes a free one.",
                Words("IP:PORT, as 127.0.0.1:8080; a loopback IP while access.tokens is empty"),
            ),
            key(
                "admin_listen",
                "Address of /rollout, /models and /metrics, for operators alone; empty serves them on host.listen. On loopback it speaks plain HTTP, whatever [tls] says.",
                Words("empty, or another IP:PORT; a loopback IP while access.tokens is empty"),
            ),
            key(
                "deadline_ms",
                "Within this /rank answers, whatever the model does.",
                Whole(1, 60_000),
            ),
            key(
                "ltr_budget_ms",
                "How much of the deadline the model may use; then legacy answers.",
                Words("an integer, 1 to 60000, below host.deadline_ms"),
            ),
            key(
                "max_connections",
                "Open connections; one more is answered 429 and closed.",
                Whole(1, 1_000_000),
            ),
            key("max_headers", "Headers of a request; 431 beyond.", Whole(8, 100)),
            key(
                "max_header_bytes",
                "Names and values of a request's headers together; 431 beyond.",
                Whole(512, 1 << 18),
            ),
            key(
                "max_body_bytes",
                "Largest request body; 413 beyond.",
                Whole(1024, 1 << 30),
            ),
            key(
                "max_body_total_mb",
                "Most that all request bodies above 64 KiB hold together, in MiB; 503 with Retry-After beyond. Bodies above 256 KiB may hold three quarters of it.",
                Words("an integer, 2 to 1000000, at least one and a third times host.max_body_bytes"),
            ),
            key(
                "max_json_depth",
                "How deep arrays and objects of a body may nest; 400 beyond.",
                Whole(8, 126),
            ),
            key(
                "max_lawyers",
                "Most lawyers in one /rank; 422 beyond.",
                Whole(1, 10_000),
            ),
            key(
                "max_rows",
                "Most rows in one /ltr/score; 422 beyond.",
                Whole(1, 10_000_000),
            ),
            key(
                "header_timeout_ms",
                "How long a connection may take to bring the head of its next request; closed then. An idle one is closed by it too.",
                TIMEOUT,
            ),
            key(
                "body_timeout_ms",
                "How long a request's body may take to arrive; 408 then.",
                TIMEOUT,
            ),
            key(
                "request_timeout_ms",
                "How long a request may take in all, its body included; 503 then.",
                TIMEOUT,
            ),
            key(
                "write_timeout_ms",
                "How long a client may take nothing of its answer; closed then.",
                TIMEOUT,
            ),
            key(
                "drain_delay_ms",
                "How long after SIGTERM requests are still taken, while /readyz says draining: longer than a load balancer takes to notice, as 5000 in Kubernetes.",
                Whole(0, 600_000),
            ),
            key(
                "drain_timeout_ms",
                "How long requests may then take to finish; cut off after it.",
                TIMEOUT,
            ),
            key(
                "rate_per_second",
                "Requests a second of one client, by token or else by address; 429 beyond; 0 is no limit.",
                Whole(0, 1_000_000),
            ),
            key(
                "rate_burst",
                "Requests that a client may send at once before host.rate_per_second counts.",
                Whole(1, 1_000_000),
            ),
            key(
                "clock",
                "Where \"now\" comes from; header (X-LTR-Time) is for simulations and replays only.",
                OneOf(&["system", "header"]),
            ),
        ],
    },
    Section {
        name: "tls",
        about: "Certificates (PEM); read again on SIGHUP, for new connections. All empty: plain HTTP.",
        keys: &[
            key(
                "cert_file",
                "The gateway's certificate and those between it and the authority.",
                Words("empty, or a path; together with tls.key_file"),
            ),
            key(
                "key_file",
                "Its private key.",
                Words("empty, or a path; together with tls.cert_file"),
            ),
            key(
                "client_ca_file",
                "Authorities of clients; where set, a client without a certificate of theirs is not served.",
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
                "text is for people, coloured on a terminal; json is one object a line, with timestamp, level, target, message, fields, and request_id while a request is served.",
                OneOf(&["text", "json"]),
            ),
            key(
                "level",
                "Minimum severity to log; the environment variable RUST_LOG overrides it, as RUST_LOG=warn,ltr_host=debug.",
                OneOf(&["off", "error", "warn", "info", "debug", "trace"]),
            ),
            key(
                "requests",
                "One line for each request: method, route, status, milliseconds.",
                Flag,
            ),
        ],
    },
    Section {
        name: "telemetry",
        about: "Where traces and reports of errors go. What cannot be delivered is dropped (ltr_telemetry_lost_total).",
        keys: &[
            key(
                "otlp_endpoint",
                "An OpenTelemetry collector that gets the spans of requests by OTLP over HTTP, at /v1/traces below it; empty exports none.",
                Words("empty, or http://HOST[:PORT][/PATH] or https://..."),
            ),
            key(
                "trace_ratio",
                "Share of the requests that are traced where the caller's traceparent does not decide.",
                SHARE,
            ),
            key(
                "sentry_dsn",
                "Where errors and panics are reported, without users, cases, lawyers, bodies, headers and addresses; empty reports none. Secret.",
                Words("empty, or http[s]://KEY@HOST[:PORT]/PROJECT"),
            ),
        ],
    },
    Section {
        name: "access",
        about: "Who may call the gateway, and who of them is an edge. While there is no token, /rank, /ltr/score, /events and /models/notify are\n\
                open to programs on this machine (host.listen and the Host of a request must be loopback, bodies JSON or Arrow),\n\
                and changes of the rollout are refused.",
        keys: &[
            key(
                "tokens",
                "Bearer tokens by their hashes; `ltr-host token` makes a token and its entry. Roles: ingest (/events), rank (/rank, /ltr/score), admin (/rollout's changes, /models/notify).",
                Words(
                    "a list of { name = \"NAME\", roles = [\"ingest\", \"rank\", \"admin\"], sha256 = \"64 hexadecimal digits\" }, each name and hash once",
                ),
            ),
            key(
                "edges",
                "The Envoys that mark and copy requests: comparisons that they ask for are told from those that strangers ask for.",
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
                "The bearer token they show: simulate needs the roles ingest and rank, the others admin. Secret.",
                Words("empty, or 16 to 256 printable ASCII characters without spaces"),
            ),
            key(
                "ca_file",
                "Authorities (PEM) that they trust a gateway by which speaks https; empty: the system's.",
                Words("empty, or a path"),
            ),
        ],
    },
    Section {
        name: "shadow",
        about: "Which requests the challenger scores unseen.",
        keys: &[
            key("fraction", "Share of the requests.", SHARE),
            key("salt", "Salt of the sampling hash.", SALT),
        ],
    },
    Section {
        name: "flags",
        about: "The operator's switches. In a Redis they are the whole fleet's: `ltr-host flags`. While it is away, its last word counts.",
        keys: &[
            key(
                "kill_switch",
                "Legacy alone answers: no model serves or is compared, whatever Redis says.",
                Words(crate::flags::SWITCH_WORDS),
            ),
            key(
                "redis_url",
                "The Redis that holds the fleet's kill switch and shadow fraction; empty: none. A password in it is secret.",
                Words("empty, or redis://[USER:PASSWORD@]HOST[:PORT][/NUMBER], with TLS rediss://"),
            ),
            key("poll_ms", "How often it is asked.", Whole(50, 60_000)),
            key(
                "kill_switch_key",
                "Key of on (or true, yes, 1, stop) or off (or false, no, 0), in any case. It is off until it is turned on, and on until it is turned off, even if its value is lost. Any other value counts as on.",
                REDIS_KEY,
            ),
            key(
                "shadow_fraction_key",
                "Key of a number, 0 to 1; without a value shadow.fraction counts. Of another value the last number stays, and without one nothing is compared.",
                REDIS_KEY,
            ),
            key(
                "file",
                "Keeps Redis's last word for a start while it is away; this gateway's own.",
                PATH,
            ),
        ],
    },
    Section {
        name: "privacy",
        about: "What is kept of persons.",
        keys: &[
            key(
                "salt_file",
                "The secret salt of pseudonyms; made at the first start. All programs on one database have the same.",
                PATH,
            ),
            key(
                PSEUDONYMISE_EVENTS,
                "Whether match_events and the spool have users' pseudonyms instead of their ids, as the shadow log has. A file that does not say it is taken for an older one: false.",
                Flag,
            ),
            key(
                GROUPS_WITHOUT_CONSENT,
                "Whether a lawyer's groups are kept, for the fair gap, where groups_consented_at does not say when the lawyer agreed. The re-rank uses them in any case. A file that does not say it is taken for an older one: true.",
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
        about: "What the shadow evidence must show before a promotion.",
        keys: &[
            key(
                "min_days",
                "Days between the first and the last case; this or min_cases is enough.",
                Number(0.0, 3650.0),
            ),
            key("min_cases", "Cases compared.", Whole(1, 1_000_000_000)),
            key(
                "hit3_gain",
                "Least gain in Hit@3 over legacy, as a share.",
                Number(-1.0, 1.0),
            ),
            key("confidence", "Level of the intervals.", CONFIDENCE),
            key(
                "fair_gap_worsening",
                "Most that the fair gap may exceed legacy's.",
                SHARE,
            ),
            key(
                "latency_p95_ms",
                "The 95th percentile of scoring lies below this.",
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
